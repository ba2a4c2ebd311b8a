// SPDX-License-Identifier: Apache-2.0
internal import Ancillary

// IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6 and IPPROTO_UDP; see tcp(7), ip(7), ipv6(7), udp(7).

extension SocketOption where Value == Bool {
  /// Send small pieces at once, without waiting for more. `TCP_NODELAY`.
  public static var noDelay: SocketOption { SocketOption(level: 6, name: 1) }
  /// Hold back small pieces until this is off again. `TCP_CORK`.
  public static var cork: SocketOption { SocketOption(level: 6, name: 3) }
  /// Attach the number of bytes that are left to read (TCP): ``ControlMessageCarrier/bytesLeft``.
  /// `TCP_INQ`, Linux 4.18.
  public static var reportBytesLeftTCP: SocketOption { SocketOption(level: 6, name: 36) }

  /// Attach the address that a packet came to, and the interface (IPv4):
  /// ``ControlMessageCarrier/packetInfoV4``. `IP_PKTINFO`.
  public static var packetInfoV4: SocketOption { SocketOption(level: 0, name: 8) }
  /// The same for IPv6. `IPV6_RECVPKTINFO`.
  public static var packetInfoV6: SocketOption { SocketOption(level: 41, name: 49) }
  /// Attach the packet's time to live (IPv4): ``ControlMessageCarrier/hopLimit``. `IP_RECVTTL`.
  public static var receiveHopLimitV4: SocketOption { SocketOption(level: 0, name: 12) }
  /// The same for IPv6. `IPV6_RECVHOPLIMIT`.
  public static var receiveHopLimitV6: SocketOption { SocketOption(level: 41, name: 51) }
  /// Attach the type of service and ECN (IPv4): ``ControlMessageCarrier/trafficClass``.
  /// `IP_RECVTOS`.
  public static var receiveTrafficClassV4: SocketOption { SocketOption(level: 0, name: 13) }
  /// The same for IPv6. `IPV6_RECVTCLASS`.
  public static var receiveTrafficClassV6: SocketOption { SocketOption(level: 41, name: 66) }
  /// Keep errors (ICMP: port unreachable …) in the error queue, with the message that caused them:
  /// receive with ``ReceiveOptions/errorQueue`` (IPv4). `IP_RECVERR`.
  ///
  /// Each of them is also reported once by the next send or receive of the socket, whoever it was
  /// about: on a socket that is not connected, a client that has gone makes a receive throw
  /// `connectionRefused`, and ends an iteration of ``MessageSocket/messages``. Nothing else is
  /// lost: receive, or iterate, again.
  public static var errorQueueV4: SocketOption { SocketOption(level: 0, name: 11) }
  /// The same for IPv6. `IPV6_RECVERR`.
  public static var errorQueueV6: SocketOption { SocketOption(level: 41, name: 25) }
  /// Attach the address that a redirected packet was meant for (IPv4, transparent proxies).
  /// `IP_RECVORIGDSTADDR`.
  public static var originalDestinationV4: SocketOption { SocketOption(level: 0, name: 20) }
  /// The same for IPv6. `IPV6_RECVORIGDSTADDR`.
  public static var originalDestinationV6: SocketOption { SocketOption(level: 41, name: 74) }
  /// IPv6 only: an IPv4 socket may be bound to the same port. Set before binding:
  /// ``SocketSetting``. `IPV6_V6ONLY`.
  public static var onlyV6: SocketOption { SocketOption(level: 41, name: 26) }

  /// Receive several messages of one sender at once, glued together:
  /// ``ControlMessageCarrier/segmentSize`` tells where to cut. `UDP_GRO`, Linux 5.0.
  public static var coalesceReceives: SocketOption { SocketOption(level: 17, name: 104) }
}

extension SocketOption where Value == Int {
  /// Time to live of packets sent (IPv4), 1 to 255. `IP_TTL`.
  public static var hopLimitV4: SocketOption { SocketOption(level: 0, name: 2) }
  /// The same for IPv6. `IPV6_UNICAST_HOPS`.
  public static var hopLimitV6: SocketOption { SocketOption(level: 41, name: 16) }
  /// Type of service of packets sent, ECN in the lowest two bits (IPv4). `IP_TOS`.
  public static var trafficClassV4: SocketOption { SocketOption(level: 0, name: 1) }
  /// The same for IPv6. `IPV6_TCLASS`.
  public static var trafficClassV6: SocketOption { SocketOption(level: 41, name: 67) }
  /// Seconds of silence before a keep-alive probe. `TCP_KEEPIDLE`.
  public static var keepAliveIdle: SocketOption { SocketOption(level: 6, name: 4) }
  /// Seconds between keep-alive probes. `TCP_KEEPINTVL`.
  public static var keepAliveInterval: SocketOption { SocketOption(level: 6, name: 5) }
  /// Milliseconds that sent data may stay unacknowledged before the connection ends.
  /// `TCP_USER_TIMEOUT`.
  public static var unacknowledgedTimeout: SocketOption { SocketOption(level: 6, name: 18) }
  /// Bytes of each message that a large send is cut into by the kernel (UDP). `UDP_SEGMENT`, Linux
  /// 4.18.
  public static var sendSegmentSize: SocketOption { SocketOption(level: 17, name: 103) }
}
