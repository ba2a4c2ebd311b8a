// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The address and interface at which an IPv4 packet arrived, or is to leave. The C names are
/// `IP_PKTINFO` and `struct in_pktinfo` (Linux 2.2; ip(7)).
public struct PacketInfoV4: Hashable, Sendable {
  /// The network interface, by number; 0 leaves the choice to routing. The C name is `ipi_ifindex`.
  public var interfaceIndex: Int32

  /// Received: the local address that the packet was delivered to. Sent: the source address to use.
  /// The C name is `ipi_spec_dst`.
  public var localAddress: IPv4Address

  /// Received: the destination in the packet's header, which may be a broadcast or multicast
  /// address. Ignored when sent. The C name is `ipi_addr`.
  public var destination: IPv4Address

  /// To send, name an interface or a source address; the destination is for received ones.
  public init(
    interfaceIndex: Int32 = 0, localAddress: IPv4Address = .any, destination: IPv4Address = .any
  ) {
    self.interfaceIndex = interfaceIndex
    self.localAddress = localAddress
    self.destination = destination
  }
}

/// The address and interface at which an IPv6 packet arrived, or is to leave. The C names are
/// `IPV6_PKTINFO` and `struct in6_pktinfo` (RFC 3542; received with the option `IPV6_RECVPKTINFO`,
/// Linux 2.6.14; ipv6(7)).
public struct PacketInfoV6: Hashable, Sendable {
  /// Received: the destination in the packet's header. Sent: the source address to use. The C name
  /// is `ipi6_addr`.
  public var address: IPv6Address

  /// The network interface, by number; 0 leaves the choice to routing. The C name is
  /// `ipi6_ifindex`.
  public var interfaceIndex: UInt32

  /// To send, name an interface or a source address.
  public init(address: IPv6Address = .any, interfaceIndex: UInt32 = 0) {
    self.address = address
    self.interfaceIndex = interfaceIndex
  }
}

extension ControlMessageKind {
  /// The C names are `IPPROTO_IP` and `IP_PKTINFO`.
  public static var packetInfoV4: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ip, type: cms_ip_pktinfo)
  }
  /// The C names are `IPPROTO_IPV6` and `IPV6_PKTINFO`.
  public static var packetInfoV6: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ipv6, type: cms_ipv6_pktinfo)
  }
}

extension PacketInfoV4: DecodableControlMessage, EncodableControlMessage {
  /// Reads ``ControlMessageKind/packetInfoV4`` alone.
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .packetInfoV4 }

  /// Reads a `struct in_pktinfo`.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 12, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    try message.check(Self.self, byteCount: 12)
    self.init(
      interfaceIndex: message.data.load(at: 0), localAddress: IPv4Address(in: message.data, at: 4),
      destination: IPv4Address(in: message.data, at: 8))
  }

  /// The level and type that it is written with.
  public var kind: ControlMessageKind { .packetInfoV4 }
  /// 12 bytes.
  public var encodedByteCount: Int { 12 }

  /// Appends a `struct in_pktinfo`.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) {
    output.append(integer: interfaceIndex)
    output.append(bigEndian: localAddress.value)
    output.append(bigEndian: destination.value)
  }
}

extension PacketInfoV6: DecodableControlMessage, EncodableControlMessage {
  /// Reads ``ControlMessageKind/packetInfoV6`` alone.
  public static func matches(_ kind: ControlMessageKind) -> Bool { kind == .packetInfoV6 }

  /// Reads a `struct in6_pktinfo`.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than 20, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    try message.check(Self.self, byteCount: 20)
    self.init(
      address: IPv6Address(in: message.data, at: 0), interfaceIndex: message.data.load(at: 16))
  }

  /// The level and type that it is written with.
  public var kind: ControlMessageKind { .packetInfoV6 }
  /// 20 bytes.
  public var encodedByteCount: Int { 20 }

  /// Appends a `struct in6_pktinfo`.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) {
    address.encode(into: &output)
    output.append(integer: interfaceIndex)
  }
}
