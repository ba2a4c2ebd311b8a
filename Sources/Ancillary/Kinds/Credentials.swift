// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// Who sent a message: process, user and group, checked by the kernel. The C names are
/// `SCM_CREDENTIALS` and `struct ucred` (unix(7)).
///
/// Received only by a socket that has `SO_PASSCRED` set at the time of the *send*. For a message
/// sent earlier the kernel fills in process 0 and the overflow user and group 65534: those read as
/// `nil`, unknown. (So does a real process outside the receiver's PID namespace, which is 0, and a
/// user that is not mapped in its user namespace.)
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

  /// The kernel's `overflowuid` and `overflowgid`, as they stand unless an administrator changed
  /// them.
  static var overflowID: UInt32 { 65534 }

  /// The payload's size: three 32-bit integers (`sizeof (struct ucred)`).
  static var byteCount: Int { 12 }

  /// Reads the 12 bytes of a `struct ucred`, as in `SCM_CREDENTIALS` and as getsockopt(2) returns
  /// them for `SO_PEERCRED`.
  ///
  /// - Throws: ``AncillaryError/Code/malformedData`` for another length.
  public init(decoding bytes: RawSpan) throws(AncillaryError) {
    guard bytes.byteCount == Self.byteCount else {
      throw AncillaryError(.malformedData, actual: bytes.byteCount, limit: Self.byteCount)
    }
    let process = bytes.load(Int32.self, at: 0)
    let user = bytes.load(UInt32.self, at: 4)
    let group = bytes.load(UInt32.self, at: 8)
    processID = process == 0 ? nil : process
    // With a known process the overflow IDs are real users ("nobody") at least as often as unmapped
    // ones: keep them.
    userID = process == 0 && user == Self.overflowID ? nil : user
    groupID = process == 0 && group == Self.overflowID ? nil : group
  }
}

extension ControlMessageKind {
  /// The C name is `SCM_CREDENTIALS` (Linux).
  public static var credentials: ControlMessageKind {
    ControlMessageKind(level: CMS_SOL_SOCKET, type: CMS_SCM_CREDENTIALS)
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
