// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// How many more routers a packet may pass. The C names are `IP_TTL` (received with the option
/// `IP_RECVTTL`, Linux 2.2; to send one: 3.13) and `IPV6_HOPLIMIT` (option `IPV6_RECVHOPLIMIT`,
/// Linux 2.6.14).
public struct HopLimit: Hashable, Sendable {
  /// The protocol whose header it stands in.
  public var version: InternetProtocol

  /// 0 to 255 when received; 1 to 255 to send, and for IPv6 also -1 for the socket's own.
  public var value: Int32

  /// A limit for packets of one protocol.
  public init(_ version: InternetProtocol, _ value: Int32) {
    self.version = version
    self.value = value
  }
}

extension ControlMessageKind {
  /// The C names are `IPPROTO_IP` and `IP_TTL`.
  public static var hopLimitV4: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ip, type: cms_ip_ttl)
  }
  /// The C names are `IPPROTO_IPV6` and `IPV6_HOPLIMIT`.
  public static var hopLimitV6: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ipv6, type: cms_ipv6_hoplimit)
  }
}

extension HopLimit: DecodableControlMessage, EncodableControlMessage {
  /// Reads both ``ControlMessageKind/hopLimitV4`` and ``ControlMessageKind/hopLimitV6``.
  public static func matches(_ kind: ControlMessageKind) -> Bool {
    kind == .hopLimitV4 || kind == .hopLimitV6
  }

  /// Reads an `int`, which Linux delivers for both.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 4, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    try message.check(Self.self, byteCount: 4)
    self.init(message.kind == .hopLimitV4 ? .v4 : .v6, message.data.load(at: 0))
  }

  /// The level and type that it is written with.
  public var kind: ControlMessageKind { version == .v4 ? .hopLimitV4 : .hopLimitV6 }
  /// 4 bytes.
  public var encodedByteCount: Int { 4 }
  /// Appends an `int`.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) { output.append(integer: value) }
}
