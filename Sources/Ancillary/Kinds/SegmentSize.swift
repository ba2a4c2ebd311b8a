// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// Sends one long payload as several datagrams of `value` bytes each, the last one shorter. The C
/// name is `UDP_SEGMENT` (Linux 4.18; udp(7)). Only sent.
///
/// At most 64 segments (128 since Linux 6.9), and 65,507 bytes in all; otherwise `EINVAL` or
/// `EMSGSIZE`.
public struct SegmentSize: Hashable, Sendable {
  /// Bytes of payload in one datagram.
  public let value: UInt16
  /// Any size; 0 asks for no segments.
  public init(_ value: UInt16) { self.value = value }
}

/// The payload is several datagrams of `value` bytes each, joined; the last may be shorter. The C
/// name is `UDP_GRO` (Linux 5.0, with the option of the same name). Only received; a single
/// datagram comes without it.
public struct CoalescedSegmentSize: Hashable, Sendable {
  /// Bytes of payload in one datagram.
  public let value: Int32
  /// Any size.
  public init(_ value: Int32) { self.value = value }
}

extension ControlMessageKind {
  /// The C names are `SOL_UDP` and `UDP_SEGMENT`.
  public static var segmentSize: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_udp, type: cms_udp_segment)
  }
  /// The C names are `SOL_UDP` and `UDP_GRO`.
  public static var coalescedSegmentSize: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_udp, type: cms_udp_gro)
  }
}

extension SegmentSize: EncodableControlMessage {
  /// The level and type that it is written with.
  public var kind: ControlMessageKind { .segmentSize }
  /// 2 bytes.
  public var encodedByteCount: Int { 2 }
  /// Appends a 16-bit integer.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) { output.append(integer: value) }
}

extension CoalescedSegmentSize: DecodableControlMessage {
  /// Reads ``ControlMessageKind/coalescedSegmentSize`` alone.
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .coalescedSegmentSize }

  /// Linux delivers an `int`; two bytes, as the documentation once had it, are read as well.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 2 or 4, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    if message.data.byteCount == 2 {
      try message.check(Self.self, byteCount: 2)
      self.init(Int32(message.data.load(UInt16.self, at: 0)))
    } else {
      try message.check(Self.self, byteCount: 4)
      self.init(message.data.load(at: 0))
    }
  }
}
