// SPDX-License-Identifier: Apache-2.0
/// A sender's credentials as FreeBSD and macOS lay them out, with groups. The C names are
/// `SCM_CREDS` and `struct cmsgcred` (FreeBSD unix(4); macOS sys/socket.h).
///
/// A pure codec: it reads and writes bytes on every system, at the levels and types of those
/// systems. It has been tested on byte vectors only, **not run on FreeBSD or macOS**.
///
/// FreeBSD fills the structure in when a sender attaches an empty one; on macOS the kernel does not
/// deliver it today.
public struct BSDCredentials: Hashable, Sendable {
  /// The C name is `cmcred_pid`.
  public var processID: Int32
  /// The real user. The C name is `cmcred_uid`.
  public var userID: UInt32
  /// The effective user. The C name is `cmcred_euid`.
  public var effectiveUserID: UInt32
  /// The real group. The C name is `cmcred_gid`.
  public var groupID: UInt32
  /// The groups, at most 16, the effective one first. The C names are `cmcred_ngroups` and
  /// `cmcred_groups`.
  public var groups: [UInt32]

  /// Any values; of the groups only the first ``maximumGroups`` are written.
  public init(
    processID: Int32, userID: UInt32, effectiveUserID: UInt32, groupID: UInt32, groups: [UInt32]
  ) {
    self.processID = processID
    self.userID = userID
    self.effectiveUserID = effectiveUserID
    self.groupID = groupID
    self.groups = groups
  }

  /// How many groups the structure holds. The C name is `CMGROUP_MAX`.
  public static var maximumGroups: Int { 16 }

  /// `sizeof (struct cmsgcred)`: four integers, a `short` with two bytes of padding, and 16 groups.
  static var byteCount: Int { 84 }
}

extension ControlMessageKind {
  /// The C names are `SOL_SOCKET` (0xFFFF on the BSDs) and `SCM_CREDS` (3). Not the numbers of
  /// Linux.
  public static var bsdCredentials: ControlMessageKind {
    ControlMessageKind(level: 0xFFFF, type: 3)
  }
}

extension BSDCredentials: DecodableControlMessage, EncodableControlMessage {
  /// Reads ``ControlMessageKind/bsdCredentials`` alone.
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .bsdCredentials }

  /// Reads a `struct cmsgcred`.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 84, a truncated message, or a number of groups outside 0…16.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    try message.check(Self.self, byteCount: Self.byteCount)
    let bytes = message.data
    let count = Int(bytes.load(Int16.self, at: 16))
    guard (0...Self.maximumGroups).contains(count) else {
      throw AncillaryError(.malformedData, actual: count, limit: Self.maximumGroups)
    }
    self.init(
      processID: bytes.load(at: 0), userID: bytes.load(at: 4), effectiveUserID: bytes.load(at: 8),
      groupID: bytes.load(at: 12), groups: [])
    for index in 0..<count { groups.append(bytes.load(at: 20 + 4 * index)) }
  }

  /// The level and type that it is written with.
  public var kind: ControlMessageKind { .bsdCredentials }
  /// 84 bytes.
  public var encodedByteCount: Int { Self.byteCount }

  /// Appends a `struct cmsgcred`. Groups beyond the sixteenth are left out.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) {
    output.append(integer: processID)
    output.append(integer: userID)
    output.append(integer: effectiveUserID)
    output.append(integer: groupID)
    let count = min(groups.count, Self.maximumGroups)
    output.append(integer: Int16(count))
    output.append(zeroes: 2)
    for group in groups.prefix(count) { output.append(integer: group) }
    output.append(zeroes: 4 * (Self.maximumGroups - count))
  }
}
