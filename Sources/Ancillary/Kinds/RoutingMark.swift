// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The packet's firewall mark. The C name is `SO_MARK` (to send one: Linux 5.4, needs
/// `CAP_NET_ADMIN`, or `CAP_NET_RAW` since 5.17; to receive it: option `SO_RCVMARK`, Linux 5.19).
public struct RoutingMark: Hashable, Sendable {
  /// The mark; 0 is none.
  public let value: UInt32
  /// Any mark.
  public init(_ value: UInt32) { self.value = value }
}

/// When the packet shall leave, in nanoseconds of the clock that the socket's option `SO_TXTIME`
/// names. The C name is `SCM_TXTIME` (Linux 4.19; needs a packet scheduler that knows it:
/// tc-etf(8), tc-fq(8)). Only sent.
public struct TransmitTime: Hashable, Sendable {
  /// Nanoseconds.
  public let value: UInt64
  /// A time of the clock that the socket's option names.
  public init(nanoseconds value: UInt64) { self.value = value }
}

extension ControlMessageKind {
  /// The C name is `SO_MARK`.
  public static var routingMark: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_mark)
  }
  /// The C name is `SCM_TXTIME`.
  public static var transmitTime: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_txtime)
  }
}

extension RoutingMark: DecodableControlMessage, EncodableControlMessage {
  /// Reads ``ControlMessageKind/routingMark`` alone.
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .routingMark }

  /// Reads a 32-bit integer.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 4, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    try message.check(Self.self, byteCount: 4)
    self.init(message.data.load(at: 0))
  }

  /// The level and type that it is written with.
  public var kind: ControlMessageKind { .routingMark }
  /// 4 bytes.
  public var encodedByteCount: Int { 4 }
  /// Appends a 32-bit integer.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) { output.append(integer: value) }
}

extension TransmitTime: EncodableControlMessage {
  /// The level and type that it is written with.
  public var kind: ControlMessageKind { .transmitTime }
  /// 8 bytes.
  public var encodedByteCount: Int { 8 }
  /// Appends a 64-bit integer.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) { output.append(integer: value) }
}
