// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine
internal import SystemPackage

/// A listening TCP socket.
/// ```swift
/// let listener = try TCPListener.bind(to: InternetAddress(.any, port: 8080))
/// for try await connection in listener.connections { … }
/// ```
public actor TCPListener: SocketListener {
  public nonisolated let channel: SocketChannel

  /// The address that the listener is bound to, with the port that was chosen.
  public nonisolated let address: InternetAddress

  public nonisolated let connectionGroup: IOLoopGroup?

  private init(channel: SocketChannel, address: InternetAddress, group: IOLoopGroup?) {
    self.channel = channel
    self.address = address
    connectionGroup = group
  }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }

  public static func makeConnection(_ channel: SocketChannel) -> TCPStream {
    TCPStream(channel: channel)
  }

  /// Takes over a listening TCP socket that was made elsewhere; see
  /// ``UnixListener/init(adopting:authorization:policy:on:connectionsOn:)``.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is (also: it does not listen); then
  ///   it is closed.
  public init(
    adopting descriptor: consuming OwnedFd, on loop: IOLoop? = nil,
    connectionsOn group: IOLoopGroup? = nil
  ) throws(SocketError) {
    let group = try IOLoopGroup.resolve(group, on: loop)
    let (channel, name) = try TCPStream.form.adoptListener(descriptor, on: loop)
    // The family was checked, so the kernel returns an Internet address.
    self.init(
      channel: channel, address: name?.internet ?? InternetAddress(.any as IPv4Address, port: 0),
      group: group)
  }

  /// Binds a new socket and starts to listen. The C names are bind(2) and listen(2). An address
  /// whose last connections are still winding down can be bound immediately (`SO_REUSEADDR`).
  ///
  /// - Parameters:
  ///   - address: An address of this machine, ``IPv4Address/any`` or ``IPv6Address/any``; port 0 to
  ///     have one chosen: ``address``.
  ///   - backlog: How many connections may wait to be accepted; the kernel takes at most
  ///     `net.core.somaxconn` (4,096).
  ///   - settings: Options to set before it is bound, as ``SocketOption/reusePort``,
  ///     ``SocketOption/onlyV6``, and buffer sizes, which accepted connections inherit.
  ///   - loop: The loop that the listener lives on; one of the shared loops if nil.
  ///   - group: Loops to spread the accepted connections over, in turn.
  ///     By default those of ``IOLoopGroup/shared()``; where `loop` is given, or the caller is in
  ///     ``IOLoop/run(_:)``, connections stay on the listener's loop.
  /// - Throws: ``SocketError``: `addressInUse`, `addressNotAvailable`, `notPermitted` (a port below
  ///   1024), `notSupported` (no IPv6), `outOfDescriptors`.
  public static func bind(
    to address: InternetAddress, backlog: Int = 1024, settings: [SocketSetting] = [],
    on loop: IOLoop? = nil,
    connectionsOn group: IOLoopGroup? = nil
  ) throws(SocketError) -> TCPListener {
    let group = try IOLoopGroup.resolve(group, on: loop)
    let loop = try IOLoop.resolve(loop)
    let name = AnySocketAddress(address)
    let descriptor = try TCPStream.form.make(
      family: address.family, settings: [SocketSetting(.reuseAddress, true)] + settings)
    try descriptor.bind(to: name)
    let bound = try descriptor.localAddress()?.internet ?? address
    let channel = try TCPStream.form.listen(descriptor, at: name, backlog: backlog, on: loop)
    return TCPListener(channel: channel, address: bound, group: group)
  }
}
