// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine

/// A UDP socket. See udp(7).
///
/// Messages may be lost, doubled or reordered on the way; at most 65,507 bytes (IPv4). What was
/// attached to a packet (the address it came to, hops, ECN …) comes with each message, if the
/// socket asks for it: ``SocketOption/packetInfoV4`` and its neighbours.
public actor UDPSocket: DatagramSocket {
  public typealias Address = InternetAddress

  static let form = SocketForm(
    families: [cms_family_internet_v4, cms_family_internet_v6], kind: .datagram, protocols: [17])

  public nonisolated let channel: SocketChannel

  init(channel: SocketChannel) { self.channel = channel }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }

  /// Makes a socket that is bound to an address and port of this machine. The C name is bind(2).
  ///
  /// - Parameters:
  ///   - address: ``IPv4Address/any`` or ``IPv6Address/any`` for all addresses; port 0 to have one
  ///     chosen: ``LoopSocket/localAddress()``.
  ///   - settings: Options to set before it is bound, as ``SocketOption/reuseAddress``,
  ///     ``SocketOption/reusePort``, ``SocketOption/onlyV6``.
  ///   - loop: The loop that the socket lives on; one of the shared loops if nil.
  /// - Throws: ``SocketError``: `addressInUse`, `addressNotAvailable`, `notPermitted` (a port below
  ///   1024), `notSupported` (no IPv6), `outOfDescriptors`.
  public static func bind(
    to address: InternetAddress, settings: [SocketSetting] = [], on loop: IOLoop? = nil
  ) throws(SocketError) -> UDPSocket {
    let descriptor = try form.make(family: address.family, settings: settings)
    try descriptor.bind(to: AnySocketAddress(address))
    // The system may have chosen the port.
    let names = SocketIdentity(kind: .datagram, at: try descriptor.localAddress())
    return UDPSocket(
      channel: SocketChannel(
        adopting: descriptor, boundTo: nil, kind: .datagram, loop: try IOLoop.resolve(loop),
        names: names))
  }

  /// Takes over a UDP socket that was made elsewhere; see ``UnixDatagram/init(adopting:on:)``.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is; then it is closed.
  public init(adopting descriptor: consuming OwnedFd, on loop: IOLoop? = nil) throws(SocketError) {
    try Self.form.check(descriptor)
    self.init(
      channel: SocketChannel(adopting: descriptor, kind: .datagram, loop: try IOLoop.resolve(loop)))
  }
}

extension InternetAddress {
  /// `AF_INET` or `AF_INET6`.
  var family: Int32 {
    switch host {
    case .v4: cms_family_internet_v4
    case .v6: cms_family_internet_v6
    }
  }
}
