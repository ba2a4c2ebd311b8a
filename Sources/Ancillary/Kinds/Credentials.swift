// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The sender of a message: process, user and group, checked by the kernel. The C names are
/// `SCM_CREDENTIALS` and `struct ucred` (unix(7)).
///
/// Received only by a socket that has `SO_PASSCRED` set at the time of the *send*. For a message
/// sent earlier the kernel fills in process 0 and its overflow user and group. It does the same for
/// a process outside the receiver's PID namespace, and for users and groups without a number in the
/// receiver's user namespace. All of these read as `nil`.
///
/// The overflow numbers are 65534, unless `kernel.overflowuid` and `kernel.overflowgid`
/// (proc_sys_kernel(5)) say otherwise; they are read for each credentials. A real user or group of
/// that number, as "nobody" often is, cannot be told apart from those without a number, and is
/// unknown as well. Where /proc is not mounted the numbers last read hold, or 65534.
///
/// To send them, a process without privileges may name its own PID and one of its real, effective
/// and saved IDs; otherwise sendmsg(2) fails with `EPERM`. A privileged one may name any, but gets
/// `ESRCH` for a process that does not exist.
public struct Credentials: Hashable, Sendable {
  /// The sender's process ID in the receiver's PID namespace; `nil` when unknown.
  public var processID: Int32?

  /// The sender's user ID; `nil` when unknown.
  public var userID: UInt32?

  /// The sender's group ID; `nil` when unknown.
  public var groupID: UInt32?

  /// Any values; to send, see what the kernel lets this process name.
  public init(processID: Int32?, userID: UInt32?, groupID: UInt32?) {
    self.processID = processID
    self.userID = userID
    self.groupID = groupID
  }

  /// The number sent for unknown users and groups.
  static var overflowID: UInt32 { 65534 }

  /// The payload's size: three 32-bit integers (`sizeof (struct ucred)`).
  static var byteCount: Int { 12 }

  /// Reads the 12 bytes of a `struct ucred`, as in `SCM_CREDENTIALS` and as getsockopt(2) returns
  /// them for `SO_PEERCRED`.
  ///
  /// - Throws: ``AncillaryError/Code/malformedData`` for another length.
  public init(decoding bytes: RawSpan) throws(AncillaryError) {
    self = try Credentials(raw: bytes).known
  }

  /// Reads the 12 bytes and keeps the overflow numbers; ``known`` replaces them later, when the
  /// value is used.
  init(raw bytes: RawSpan) throws(AncillaryError) {
    guard bytes.byteCount == Self.byteCount else {
      throw AncillaryError(.malformedData, actual: bytes.byteCount, limit: Self.byteCount)
    }
    let process = bytes.load(Int32.self, at: 0)
    processID = process == 0 ? nil : process
    userID = bytes.load(UInt32.self, at: 4)
    groupID = bytes.load(UInt32.self, at: 8)
  }

  /// These credentials with nil in place of the overflow numbers, which stand for users and groups
  /// without a number in our user namespace. Reads two small files of /proc, which takes 5 µs.
  package var known: Credentials {
    Credentials(
      processID: processID, userID: userID.flatMap(Self.knownUser),
      groupID: groupID.flatMap(Self.knownGroup))
  }

  /// The number, or nil if it may stand for users without a number in our user namespace.
  package static func knownUser(_ number: UInt32) -> UInt32? {
    mayOverflow(number, cms_overflow_user) ? nil : number
  }

  /// The number, or nil if it may stand for groups without a number in our user namespace.
  package static func knownGroup(_ number: UInt32) -> UInt32? {
    mayOverflow(number, cms_overflow_group) ? nil : number
  }

  private static func mayOverflow(_ number: UInt32, _ overflow: () -> UInt32) -> Bool {
    // The kernel limits the overflow numbers to 16 bits.
    number <= UInt16.max && number == overflow()
  }
}

extension ControlMessageKind {
  /// The C name is `SCM_CREDENTIALS` (Linux).
  public static var credentials: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_scm_credentials)
  }
}

extension ControlMessages {
  /// The offset of the last `SCM_CREDENTIALS` in `bytes`, if all before it are zeroed credentials,
  /// which receives that found nothing have written. Otherwise 0. A message has one such control
  /// message, before all others.
  package static func startOfLastCredentials(in bytes: RawSpan) -> Int {
    guard let first = ControlMessageExtent(in: bytes, at: 0), first.kind == .credentials,
      first.data.count == Credentials.byteCount,
      first.data.allSatisfy({ bytes.load(UInt8.self, at: $0) == 0 })
    else { return 0 }
    var start = 0
    var offset = first.next
    while let extent = ControlMessageExtent(in: bytes, at: offset) {
      if extent.kind == .credentials { start = offset }
      offset = extent.next
    }
    return start
  }
}

extension Credentials: DecodableControlMessage, EncodableControlMessage {
  /// Reads ``ControlMessageKind/credentials`` alone.
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .credentials }

  /// Reads the 12 bytes of a `struct ucred`.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 12, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    try message.check(Self.self, byteCount: Self.byteCount)
    try self.init(decoding: message.data)
  }

  /// The level and type that it is written with.
  public var kind: ControlMessageKind { .credentials }
  /// 12 bytes.
  public var encodedByteCount: Int { Self.byteCount }

  /// Appends a `struct ucred`. Unknown members are written as the kernel does: 0 and 65534.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) {
    output.append(integer: processID ?? 0)
    output.append(integer: userID ?? Self.overflowID)
    output.append(integer: groupID ?? Self.overflowID)
  }
}
