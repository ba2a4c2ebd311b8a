// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets

/// A multicast group, and the interface on which a ``UDPSocket`` joins or leaves it. The C name is
/// `struct group_req`; see ip(7).
///
/// The value of ``SocketOption/joinMulticastGroupV4``, ``SocketOption/leaveMulticastGroupV4`` and
/// their IPv6 forms, which can be set but not read.
public struct MulticastMembership: Hashable, Sendable, SocketOptionValue {
  /// The group's address, of the socket's family.
  public var group: InternetAddress.Host
  /// The interface by its index; with 0 the system chooses. The C name is if_nametoindex(3).
  public var interface: UInt32

  public init(group: InternetAddress.Host, interface: UInt32 = 0) {
    self.group = group
    self.interface = interface
  }

  public var optionBytes: [UInt8] {
    // The address is a struct sockaddr_storage (128 bytes), aligned to 8 bytes.
    let address =
      switch group {
      case .v4(let group): InternetAddress(group, port: 0)
      case .v6(let group): InternetAddress(group, port: 0)
      }
    let name = AnySocketAddress(address).bytes
    return interface.optionBytes + [0, 0, 0, 0] + name
      + [UInt8](repeating: 0, count: 128 - name.count)
  }

  public init?(optionBytes: [UInt8]) { nil }
}

extension SocketOption where Value == MulticastMembership {
  /// Joins an IPv4 multicast group. The C name is `MCAST_JOIN_GROUP`.
  public static var joinMulticastGroupV4: SocketOption {
    SocketOption(level: cms_ipproto_ip, name: cms_mcast_join_group)
  }
  /// Leaves an IPv4 multicast group. The C name is `MCAST_LEAVE_GROUP`.
  public static var leaveMulticastGroupV4: SocketOption {
    SocketOption(level: cms_ipproto_ip, name: cms_mcast_leave_group)
  }
  /// Joins an IPv6 multicast group. The C name is `MCAST_JOIN_GROUP`.
  public static var joinMulticastGroupV6: SocketOption {
    SocketOption(level: cms_ipproto_ipv6, name: cms_mcast_join_group)
  }
  /// Leaves an IPv6 multicast group. The C name is `MCAST_LEAVE_GROUP`.
  public static var leaveMulticastGroupV6: SocketOption {
    SocketOption(level: cms_ipproto_ipv6, name: cms_mcast_leave_group)
  }
}
