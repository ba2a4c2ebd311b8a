// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// A packet's differentiated-services byte, with its congestion mark. The C names are `IP_TOS`
/// (received with the option `IP_RECVTOS`, Linux 2.2; to send one: 3.13) and `IPV6_TCLASS` (option
/// `IPV6_RECVTCLASS`, Linux 2.6.14).
public struct TrafficClass: Hashable, Sendable {
  /// Explicit congestion notification: the two low bits (RFC 3168). C names from `netinet/ip.h`.
  public enum CongestionMark: UInt8, Sendable {
    /// The C name is `IPTOS_ECN_NOT_ECT`.
    case notCapable = 0
    /// The C name is `IPTOS_ECN_ECT1`.
    case capable1 = 1
    /// The C name is `IPTOS_ECN_ECT0`.
    case capable0 = 2
    /// A router was congested. The C name is `IPTOS_ECN_CE`.
    case experienced = 3
  }

  /// The protocol whose header it stands in.
  public var version: InternetProtocol

  /// The whole byte.
  public var value: UInt8

  /// A byte for packets of one protocol.
  public init(_ version: InternetProtocol, _ value: UInt8) {
    self.version = version
    self.value = value
  }

  /// The two low bits.
  public var congestion: CongestionMark {
    get { CongestionMark(rawValue: value & 3) ?? .notCapable }
    set { value = value & ~3 | newValue.rawValue }
  }

  /// The six high bits (DSCP, RFC 2474), 0 to 63; the two above are ignored when set.
  public var differentiatedServices: UInt8 {
    get { value >> 2 }
    set { value = newValue << 2 | value & 3 }
  }
}

extension ControlMessageKind {
  /// The C names are `IPPROTO_IP` and `IP_TOS`.
  public static var trafficClassV4: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ip, type: cms_ip_tos)
  }
  /// The C names are `IPPROTO_IPV6` and `IPV6_TCLASS`.
  public static var trafficClassV6: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ipv6, type: cms_ipv6_tclass)
  }
}

extension TrafficClass: DecodableControlMessage, EncodableControlMessage {
  /// Reads both ``ControlMessageKind/trafficClassV4`` and ``ControlMessageKind/trafficClassV6``.
  public static func matches(_ kind: ControlMessageKind) -> Bool {
    kind == .trafficClassV4 || kind == .trafficClassV6
  }

  /// Linux delivers one byte for IPv4 and an `int` for IPv6; either length is read for either.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 1 or 4, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    let version: InternetProtocol = message.kind == .trafficClassV4 ? .v4 : .v6
    if message.data.byteCount == 1 {
      try message.check(Self.self, byteCount: 1)
      self.init(version, message.data.load(at: 0))
    } else {
      try message.check(Self.self, byteCount: 4)
      self.init(version, UInt8(truncatingIfNeeded: message.data.load(Int32.self, at: 0)))
    }
  }

  /// The level and type that it is written with.
  public var kind: ControlMessageKind { version == .v4 ? .trafficClassV4 : .trafficClassV6 }
  /// 4 bytes.
  public var encodedByteCount: Int { 4 }

  /// Appends an `int`, which Linux takes for both.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) { output.append(integer: Int32(value)) }
}
