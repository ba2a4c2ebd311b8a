// SPDX-License-Identifier: Apache-2.0
public import Ancillary

/// A multicast group, and the interface on which a ``UDPSocket`` joins or leaves it: the value of
/// ``SocketOption/joinGroupV4``, ``SocketOption/leaveGroupV4`` and the same for IPv6. Can only be
/// set. The C name is `struct group_req`; see ip(7).
public struct MulticastMembership: Hashable, Sendable, SocketOptionValue {
  /// The group's address, of the socket's family.
  public var group: InternetAddress.Host
  /// The interface by its index; 0: the system chooses. The C name is if_nametoindex(3).
  public var interface: UInt32

  public init(group: InternetAddress.Host, interface: UInt32 = 0) {
    self.group = group
    self.interface = interface
  }

  public var optionBytes: [UInt8] {
    // The address is a struct sockaddr_storage (128 bytes), aligned to 8.
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
  /// Receive what is sent to a group. `MCAST_JOIN_GROUP`. Level `IPPROTO_IP`: for an IPv4 socket.
  public static var joinGroupV4: SocketOption { SocketOption(level: 0, name: 42) }
  /// No longer. `MCAST_LEAVE_GROUP`.
  public static var leaveGroupV4: SocketOption { SocketOption(level: 0, name: 45) }
  /// Receive what is sent to a group (IPv6). `MCAST_JOIN_GROUP`.
  public static var joinGroupV6: SocketOption { SocketOption(level: 41, name: 42) }
  /// No longer (IPv6). `MCAST_LEAVE_GROUP`.
  public static var leaveGroupV6: SocketOption { SocketOption(level: 41, name: 45) }
}
