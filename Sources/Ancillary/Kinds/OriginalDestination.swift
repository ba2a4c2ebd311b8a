// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The address that a packet was sent to before a firewall rule redirected it here (transparent
/// proxies). The C names are `IP_ORIGDSTADDR` (`IP_RECVORIGDSTADDR`, Linux 2.6.29) and
/// `IPV6_ORIGDSTADDR` (2.6.37). Only received.
public struct OriginalDestination: Hashable, Sendable {
  /// The address, with its port.
  public let address: InternetAddress
  /// Any address.
  public init(_ address: InternetAddress) { self.address = address }
}

extension ControlMessageKind {
  /// The C names are `IPPROTO_IP` and `IP_ORIGDSTADDR`.
  public static var originalDestinationV4: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ip, type: cms_ip_origdstaddr)
  }
  /// The C names are `IPPROTO_IPV6` and `IPV6_ORIGDSTADDR`.
  public static var originalDestinationV6: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ipv6, type: cms_ipv6_origdstaddr)
  }
}

extension OriginalDestination: DecodableControlMessage {
  /// Reads both ``ControlMessageKind/originalDestinationV4`` and
  /// ``ControlMessageKind/originalDestinationV6``.
  public static func matches(_ kind: ControlMessageKind) -> Bool {
    kind == .originalDestinationV4 || kind == .originalDestinationV6
  }

  /// Reads a `struct sockaddr_in` or `sockaddr_in6`.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedAddress`` or
  ///   ``AncillaryError/Code/wrongFamily`` as ``InternetAddress/init(decoding:)``.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    guard Self.matches(message.kind) else { throw AncillaryError(.wrongKind) }
    self.init(try InternetAddress(decoding: message.data))
  }
}
