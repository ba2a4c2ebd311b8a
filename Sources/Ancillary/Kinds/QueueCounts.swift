// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// How many bytes were waiting behind those that were received. The C names are `SCM_INQ`
/// (Unix-domain streams, Linux 6.17, option `SO_INQ`) and `TCP_CM_INQ` (TCP, Linux 4.18, option
/// `TCP_INQ`).
///
/// Linux 6.17 to 6.18.3 also adds it unasked to every stream receive through io_uring.
public struct QueuedByteCount: Hashable, Sendable {
  /// Bytes.
  public let value: Int32
  /// Any count.
  public init(_ value: Int32) { self.value = value }
}

/// How many messages the socket has dropped since it was made, because its buffer was full. The C
/// name is `SO_RXQ_OVFL` (Linux 2.6.33; socket(7)). Wraps around.
public struct DroppedMessageCount: Hashable, Sendable {
  /// Messages.
  public let value: UInt32
  /// Any count.
  public init(_ value: UInt32) { self.value = value }
}

extension ControlMessageKind {
  /// The C name is `SCM_INQ`.
  public static var queuedByteCount: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_scm_inq)
  }
  /// The C names are `SOL_TCP` and `TCP_CM_INQ`.
  public static var queuedByteCountTCP: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_tcp, type: cms_tcp_inq)
  }
  /// The C name is `SO_RXQ_OVFL`.
  public static var droppedMessageCount: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_rxq_ovfl)
  }
}

extension QueuedByteCount: DecodableControlMessage {
  /// Reads both ``ControlMessageKind/queuedByteCount`` and
  /// ``ControlMessageKind/queuedByteCountTCP``.
  public static func matches(_ kind: ControlMessageKind) -> Bool {
    kind == .queuedByteCount || kind == .queuedByteCountTCP
  }

  /// Reads an `int`.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 4, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    try message.check(Self.self, byteCount: 4)
    self.init(message.data.load(at: 0))
  }
}

extension DroppedMessageCount: DecodableControlMessage {
  /// Reads ``ControlMessageKind/droppedMessageCount`` alone.
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .droppedMessageCount }

  /// Reads a 32-bit integer.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 4, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    try message.check(Self.self, byteCount: 4)
    self.init(message.data.load(at: 0))
  }
}
