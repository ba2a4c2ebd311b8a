// SPDX-License-Identifier: Apache-2.0
internal import Ancillary

// SOL_SOCKET; see socket(7) and unix(7). The numbers are those of x86-64 and arm64.

extension SocketOption where Value == Bool {
  private static func socket(_ name: Int32) -> SocketOption { SocketOption(level: 1, name: name) }

  /// Bind to an address whose last connections are still winding down (TCP), or that is shared (UDP
  /// multicast): before binding, ``SocketSetting``. `SO_REUSEADDR`.
  public static var reuseAddress: SocketOption { socket(2) }
  /// Several sockets bound to one address share its connections or messages: before binding,
  /// ``SocketSetting``. `SO_REUSEPORT`, Linux 3.9.
  public static var reusePort: SocketOption { socket(15) }
  /// Send to broadcast addresses. `SO_BROADCAST`.
  public static var broadcast: SocketOption { socket(6) }
  /// Ask a silent peer whether it is alive. `SO_KEEPALIVE`.
  public static var keepAlive: SocketOption { socket(9) }
  /// Attach the sender's process, user and group to each message (Unix):
  /// ``ReceivedMessage/credentials``. Messages sent before this was set come without: set it first,
  /// and on listeners: accepted connections inherit it. `SO_PASSCRED`.
  public static var passCredentials: SocketOption { socket(16) }
  /// Attach the sender's security label (Unix): ``ControlMessageCarrier/securityLabel``.
  /// `SO_PASSSEC`.
  public static var passSecurityLabel: SocketOption { socket(34) }
  /// Attach a descriptor of the sender's process (Unix): ``ReceivedMessage/takeProcess()``.
  /// `SO_PASSPIDFD`, Linux 6.5.
  public static var passProcessDescriptor: SocketOption { socket(76) }
  /// Accept descriptors (Unix), as is the default. Off, whoever sends some gets `EPERM`; what is
  /// queued already still arrives. `SO_PASSRIGHTS`, Linux 6.16.
  public static var passDescriptors: SocketOption { socket(83) }
  /// Attach the number of bytes that are left to read (Unix streams):
  /// ``ControlMessageCarrier/bytesLeft``. `SO_INQ`, Linux 6.17.
  public static var reportBytesLeft: SocketOption { socket(84) }
  /// Attach the time of arrival in nanoseconds: ``ControlMessageCarrier/timestamp``.
  /// `SO_TIMESTAMPNS`.
  public static var timestamps: SocketOption { socket(35) }
  /// Attach how many messages were dropped because the queue was full (UDP):
  /// ``ControlMessageCarrier/droppedMessages``. `SO_RXQ_OVFL`.
  public static var reportDroppedMessages: SocketOption { socket(40) }
  /// Attach the mark of the packet. `SO_RCVMARK`, Linux 5.19.
  public static var receiveMark: SocketOption { socket(75) }
  /// Whether the socket is a listener; to read only. `SO_ACCEPTCONN`.
  public static var isListening: SocketOption { socket(30) }
}

extension SocketOption where Value == Int {
  private static func socket(_ name: Int32) -> SocketOption { SocketOption(level: 1, name: name) }

  /// Bytes of the send buffer, as the kernel counts: it doubles what is set, and takes at most
  /// `net.core.wmem_max`. `SO_SNDBUF`.
  public static var sendBufferSize: SocketOption { socket(7) }
  /// Bytes of the receive buffer, in the same way; at most `net.core.rmem_max`. `SO_RCVBUF`.
  public static var receiveBufferSize: SocketOption { socket(8) }
  /// The error that waits to be reported, as a number of errno.h; reading it clears it. `SO_ERROR`.
  public static var pendingError: SocketOption { socket(4) }
  /// Which time stamps to make and report; see the kernel's networking/timestamping.
  /// `SO_TIMESTAMPING`.
  public static var timestamping: SocketOption { socket(37) }
  /// The priority of packets sent, 0 to 6 without `CAP_NET_ADMIN`. `SO_PRIORITY`.
  public static var priority: SocketOption { socket(12) }
}

extension SocketOption where Value == UInt32 {
  /// The mark of packets sent; needs `CAP_NET_ADMIN` (or `CAP_NET_RAW`, Linux 5.17). `SO_MARK`.
  public static var mark: SocketOption { SocketOption(level: 1, name: 36) }
}

extension SocketOption where Value == Int32 {
  /// The address family, to read only. `SO_DOMAIN`.
  public static var family: SocketOption { SocketOption(level: 1, name: 39) }
  /// `SOCK_STREAM` …, to read only. `SO_TYPE`.
  public static var type: SocketOption { SocketOption(level: 1, name: 3) }
  /// `IPPROTO_TCP` …, to read only. `SO_PROTOCOL`.
  public static var protocolNumber: SocketOption { SocketOption(level: 1, name: 38) }
}
