// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine
internal import SystemPackage

/// A listening vsock socket, which makes connections of one kind: `VsockListener<VsockStream>` or
/// `VsockListener<VsockSeqpacket>`.
/// ```swift
/// let listener = try VsockListener<VsockStream>.bind(to: VsockAddress(.any, port: 1024))
/// for try await connection in listener.connections { … }
/// ```
public actor VsockListener<Connection: VsockConnection>: SocketListener {
  public nonisolated let channel: SocketChannel

  /// The address that the listener is bound to, with the port that was chosen.
  public nonisolated let address: VsockAddress

  public nonisolated let connectionGroup: IOLoopGroup?

  public nonisolated let authorization: Authorization

  private init(
    channel: SocketChannel, address: VsockAddress, group: IOLoopGroup?, authorization: Authorization
  ) {
    self.channel = channel
    self.address = address
    connectionGroup = group
    self.authorization = authorization
  }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }

  public static func makeConnection(_ channel: SocketChannel) -> Connection {
    Connection(channel: channel)
  }

  /// Takes over a listening vsock socket that was made elsewhere; see
  /// ``UnixListener/init(adopting:authorization:policy:on:connectionsOn:)``.
  ///
  /// - Parameters:
  ///   - descriptor: A listening vsock socket.
  ///   - authorization: Which machines may connect, as for
  ///     ``bind(to:backlog:authorization:settings:on:connectionsOn:)``.
  ///   - loop: The loop of the listener; by default the current or the shared one.
  ///   - group: The loops of its connections; by default the listener's loop.
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is (also: it does not listen);
  ///   `notSupported`, as ``VsockConnection/connect(to:settings:on:)``. Then it is closed.
  public init(
    adopting descriptor: consuming OwnedFd, authorization: Authorization = .anyone,
    on loop: IOLoop? = nil, connectionsOn group: IOLoopGroup? = nil
  ) throws(SocketError) {
    let group = try IOLoopGroup.resolve(group, on: loop)
    let loop = try Connection.resolve(loop)
    let (channel, name) = try Connection.form.adoptListener(descriptor, on: loop)
    // The family was checked, so the kernel returns a vsock address.
    self.init(
      channel: channel, address: name?.vsock ?? VsockAddress(.any, port: VsockAddress.anyPort),
      group: group, authorization: authorization)
  }

  /// Binds a new socket and starts to listen. The C names are bind(2) and listen(2). A port can be
  /// bound again as soon as its listener has closed.
  ///
  /// - Parameters:
  ///   - address: ``VsockContextID/any`` for all numbers of this machine, or one of them;
  ///     ``VsockAddress/anyPort`` to have a port chosen: ``address``.
  ///   - backlog: How many connections may wait to be accepted. The kernel refuses further ones.
  ///   - authorization: Which machines may connect: by default any, that is, the host and, on a
  ///     host, each of its virtual machines. See ``Authorization/contexts(_:)``.
  ///   - settings: Options to set before it is bound, as ``SocketOption/vsockBufferSize``, which
  ///     accepted connections inherit.
  ///   - loop: The loop that the listener lives on; one of the shared loops if nil.
  ///   - group: Loops to spread the accepted connections over, in turn.
  ///     By default those of ``IOLoopGroup/shared()``; where `loop` is given, or the caller is in
  ///     ``IOLoop/run(_:)``, connections stay on the listener's loop.
  /// - Throws: ``SocketError``, with the address where there is one: `addressInUse`,
  ///   `addressNotAvailable` (not a number of this machine), `notPermitted` (a port below 1024),
  ///   `notSupported` (as ``VsockConnection/connect(to:settings:on:)``), `outOfDescriptors`.
  public static func bind(
    to address: VsockAddress, backlog: Int = 1024, authorization: Authorization = .anyone,
    settings: [SocketSetting] = [], on loop: IOLoop? = nil,
    connectionsOn group: IOLoopGroup? = nil
  ) throws(SocketError) -> VsockListener {
    let group = try IOLoopGroup.resolve(group, on: loop)
    let loop = try Connection.resolve(loop)
    let name = AnySocketAddress(address)
    let descriptor = try Connection.form.make(settings: settings)
    try descriptor.bind(to: name)
    let bound = try descriptor.localAddress()?.vsock ?? address
    let channel = try Connection.form.listen(descriptor, at: name, backlog: backlog, on: loop)
    return VsockListener(
      channel: channel, address: bound, group: group, authorization: authorization)
  }
}
