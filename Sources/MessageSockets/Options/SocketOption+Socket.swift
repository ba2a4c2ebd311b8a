// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets

// Level SOL_SOCKET: socket(7), unix(7).

extension SocketOption where Value == Bool {
  /// Binds to an address whose last connections are still winding down (TCP), or that is shared
  /// (UDP multicast). Set it before binding, as a ``SocketSetting``. The C name is `SO_REUSEADDR`.
  public static var reuseAddress: SocketOption { socket(cms_so_reuseaddr) }

  /// Lets several sockets that are bound to one address share its connections or messages. Set it
  /// before binding, as a ``SocketSetting``. The C name is `SO_REUSEPORT`, since Linux 3.9.
  public static var reusePort: SocketOption { socket(cms_so_reuseport) }

  /// Permits sending to broadcast addresses. The C name is `SO_BROADCAST`.
  public static var broadcast: SocketOption { socket(cms_so_broadcast) }

  /// Asks a silent TCP peer from time to time whether it is alive. The C name is `SO_KEEPALIVE`.
  public static var keepAlive: SocketOption { socket(cms_so_keepalive) }

  /// Attaches the sender's process, user and group to each message of a Unix socket:
  /// ``ReceivedMessage/credentials``. The C name is `SO_PASSCRED`.
  ///
  /// Messages that were sent before the option was set come without. Give it to a listener, whose
  /// accepted connections inherit it.
  public static var passCredentials: SocketOption { socket(cms_so_passcred) }

  /// Attaches the sender's security label to each message of a Unix socket:
  /// ``ControlMessageContainer/securityLabel``. The C name is `SO_PASSSEC`.
  public static var passSecurityLabel: SocketOption { socket(cms_so_passsec) }

  /// Attaches a descriptor of the sender's process to each message of a Unix socket:
  /// ``ReceivedMessage/takeProcess()``. The C name is `SO_PASSPIDFD`, since Linux 6.5.
  public static var passProcessDescriptor: SocketOption { socket(cms_so_passpidfd) }

  /// Accepts descriptors on a Unix socket, which is the default. While it is off, a sender of
  /// descriptors gets `EPERM`; messages that are queued already still arrive. The C name is
  /// `SO_PASSRIGHTS`, since Linux 6.16.
  public static var passDescriptors: SocketOption { socket(cms_so_passrights) }

  /// Attaches the number of unread bytes to each receive on a Unix stream:
  /// ``ControlMessageContainer/bytesLeft``. The C name is `SO_INQ`, since Linux 6.17.
  public static var reportBytesLeft: SocketOption { socket(cms_so_inq) }

  /// Attaches the time of arrival, in nanoseconds, to each message:
  /// ``ControlMessageContainer/timestamp``. The C name is `SO_TIMESTAMPNS`.
  public static var timestamps: SocketOption { socket(cms_so_timestampns) }

  /// Attaches how many messages were dropped because the queue was full (UDP):
  /// ``ControlMessageContainer/droppedMessages``. The C name is `SO_RXQ_OVFL`.
  public static var reportDroppedMessages: SocketOption { socket(cms_so_rxq_ovfl) }

  /// Attaches the routing mark of each packet. The C name is `SO_RCVMARK`, since Linux 5.19.
  public static var receiveMark: SocketOption { socket(cms_so_rcvmark) }

  /// Whether the socket is a listener; read-only. The C name is `SO_ACCEPTCONN`.
  public static var isListening: SocketOption { socket(cms_so_acceptconn) }
}

extension SocketOption where Value == Int {
  /// Bytes of the send buffer, as the kernel counts: it doubles the value that is set, and takes at
  /// most `net.core.wmem_max`. The C name is `SO_SNDBUF`.
  public static var sendBufferSize: SocketOption { socket(cms_so_sndbuf) }

  /// Bytes of the receive buffer, as the kernel counts: it doubles the value that is set, and takes
  /// at most `net.core.rmem_max`. The C name is `SO_RCVBUF`.
  public static var receiveBufferSize: SocketOption { socket(cms_so_rcvbuf) }

  /// The pending error, as a number of errno.h; reading it clears it. The C name is `SO_ERROR`.
  public static var pendingError: SocketOption { socket(cms_so_error) }

  /// The time stamps to make and report, as bits of ``TimestampRequest``; see the kernel's
  /// networking/timestamping. The C name is `SO_TIMESTAMPING`.
  public static var timestamping: SocketOption { socket(cms_so_timestamping) }

  /// The priority of packets sent, 0 to 6 without `CAP_NET_ADMIN`. The C name is `SO_PRIORITY`.
  public static var priority: SocketOption { socket(cms_so_priority) }
}

extension SocketOption where Value == UInt32 {
  /// The routing mark of packets sent; setting it needs `CAP_NET_ADMIN` (or `CAP_NET_RAW`, Linux
  /// 5.17). The C name is `SO_MARK`.
  public static var mark: SocketOption { socket(cms_so_mark) }
}

extension SocketOption where Value == Int32 {
  /// The address family; read-only. The C name is `SO_DOMAIN`.
  public static var family: SocketOption { socket(cms_so_domain) }

  /// The type, such as `SOCK_STREAM`; read-only. The C name is `SO_TYPE`.
  public static var type: SocketOption { socket(cms_so_type) }

  /// The protocol, such as `IPPROTO_TCP`; read-only. The C name is `SO_PROTOCOL`.
  public static var protocolNumber: SocketOption { socket(cms_so_protocol) }
}

extension SocketOption {
  private static func socket(_ name: Int32) -> SocketOption {
    SocketOption(level: cms_sol_socket, name: name)
  }
}
