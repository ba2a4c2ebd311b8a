// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets

// Levels IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6 and IPPROTO_UDP: tcp(7), ip(7), ipv6(7), udp(7).

extension SocketOption where Value == Bool {
  /// Sends small pieces immediately instead of waiting for more. The C name is `TCP_NODELAY`.
  public static var noDelay: SocketOption { tcp(cms_tcp_nodelay) }

  /// Holds back small pieces until this option is off again. The C name is `TCP_CORK`.
  public static var cork: SocketOption { tcp(cms_tcp_cork) }

  /// Attaches the number of unread bytes to each TCP receive:
  /// ``ControlMessageContainer/bytesLeft``. The C name is `TCP_INQ`, since Linux 4.18.
  public static var reportBytesLeftTCP: SocketOption { tcp(cms_tcp_inq) }

  /// Attaches the destination address and interface of each IPv4 packet:
  /// ``ControlMessageContainer/packetInfoV4``. The C name is `IP_PKTINFO`.
  public static var packetInfoV4: SocketOption { ipv4(cms_ip_pktinfo) }

  /// Attaches the destination address and interface of each IPv6 packet:
  /// ``ControlMessageContainer/packetInfoV6``. The C name is `IPV6_RECVPKTINFO`.
  public static var packetInfoV6: SocketOption { ipv6(cms_ipv6_recvpktinfo) }

  /// Attaches the time to live of each IPv4 packet: ``ControlMessageContainer/hopLimit``. The C
  /// name is `IP_RECVTTL`.
  public static var receiveHopLimitV4: SocketOption { ipv4(cms_ip_recvttl) }

  /// Attaches the hop limit of each IPv6 packet: ``ControlMessageContainer/hopLimit``. The C name
  /// is `IPV6_RECVHOPLIMIT`.
  public static var receiveHopLimitV6: SocketOption { ipv6(cms_ipv6_recvhoplimit) }

  /// Attaches the type of service and ECN of each IPv4 packet:
  /// ``ControlMessageContainer/trafficClass``. The C name is `IP_RECVTOS`.
  public static var receiveTrafficClassV4: SocketOption { ipv4(cms_ip_recvtos) }

  /// Attaches the traffic class and ECN of each IPv6 packet:
  /// ``ControlMessageContainer/trafficClass``. The C name is `IPV6_RECVTCLASS`.
  public static var receiveTrafficClassV6: SocketOption { ipv6(cms_ipv6_recvtclass) }

  /// Keeps network errors, such as an unreachable port, in the error queue of an IPv4 socket, with
  /// the message that caused them. Receive them with ``ReceiveOptions/errorQueue``. The C name is
  /// `IP_RECVERR`.
  ///
  /// The next send or receive of the socket also reports each error once, whichever destination it
  /// concerns: on an unconnected socket, one unreachable client makes a receive throw
  /// `connectionRefused`, which ends an iteration of ``MessageSocket/messages``. No message is
  /// lost: receive or iterate again.
  public static var errorQueueV4: SocketOption { ipv4(cms_ip_recverr) }

  /// Keeps network errors in the error queue of an IPv6 socket, as ``errorQueueV4`` does for IPv4.
  /// The C name is `IPV6_RECVERR`.
  public static var errorQueueV6: SocketOption { ipv6(cms_ipv6_recverr) }

  /// Attaches the original destination of redirected IPv4 packets, for transparent proxies:
  /// ``ControlMessageContainer/originalDestination``. The C name is `IP_RECVORIGDSTADDR`.
  public static var originalDestinationV4: SocketOption { ipv4(cms_ip_recvorigdstaddr) }

  /// Attaches the original destination of redirected IPv6 packets, for transparent proxies:
  /// ``ControlMessageContainer/originalDestination``. The C name is `IPV6_RECVORIGDSTADDR`.
  public static var originalDestinationV6: SocketOption { ipv6(cms_ipv6_recvorigdstaddr) }

  /// Limits an IPv6 socket to IPv6, so that an IPv4 socket can be bound to the same port. Set it
  /// before binding, as a ``SocketSetting``. The C name is `IPV6_V6ONLY`.
  public static var onlyV6: SocketOption { ipv6(cms_ipv6_v6only) }

  /// Joins several UDP messages of one sender into one receive:
  /// ``ControlMessageContainer/segmentSize`` tells where to cut. The C name is `UDP_GRO`, since
  /// Linux 5.0.
  public static var coalesceReceives: SocketOption { udp(cms_udp_gro) }
}

extension SocketOption where Value == Int {
  /// The time to live of IPv4 packets sent, 1 to 255. The C name is `IP_TTL`.
  public static var hopLimitV4: SocketOption { ipv4(cms_ip_ttl) }

  /// The hop limit of IPv6 packets sent, 0 to 255. The C name is `IPV6_UNICAST_HOPS`.
  public static var hopLimitV6: SocketOption { ipv6(cms_ipv6_unicast_hops) }

  /// The type of service of IPv4 packets sent, with ECN in the lowest two bits. The C name is
  /// `IP_TOS`.
  public static var trafficClassV4: SocketOption { ipv4(cms_ip_tos) }

  /// The traffic class of IPv6 packets sent, with ECN in the lowest two bits. The C name is
  /// `IPV6_TCLASS`.
  public static var trafficClassV6: SocketOption { ipv6(cms_ipv6_tclass) }

  /// Seconds of silence before the first keep-alive probe. The C name is `TCP_KEEPIDLE`.
  public static var keepAliveIdle: SocketOption { tcp(cms_tcp_keepidle) }

  /// Seconds between keep-alive probes. The C name is `TCP_KEEPINTVL`.
  public static var keepAliveInterval: SocketOption { tcp(cms_tcp_keepintvl) }

  /// Milliseconds that sent data may stay unacknowledged before the connection ends. The C name is
  /// `TCP_USER_TIMEOUT`.
  public static var unacknowledgedTimeout: SocketOption { tcp(cms_tcp_user_timeout) }

  /// Bytes of each message that the kernel cuts a large UDP send into. The C name is `UDP_SEGMENT`,
  /// since Linux 4.18.
  public static var sendSegmentSize: SocketOption { udp(cms_udp_segment) }
}

extension SocketOption {
  private static func tcp(_ name: Int32) -> SocketOption {
    SocketOption(level: cms_ipproto_tcp, name: name)
  }

  private static func udp(_ name: Int32) -> SocketOption {
    SocketOption(level: cms_ipproto_udp, name: name)
  }

  private static func ipv4(_ name: Int32) -> SocketOption {
    SocketOption(level: cms_ipproto_ip, name: name)
  }

  private static func ipv6(_ name: Int32) -> SocketOption {
    SocketOption(level: cms_ipproto_ipv6, name: name)
  }
}
