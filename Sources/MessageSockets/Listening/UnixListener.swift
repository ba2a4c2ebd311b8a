public import Ancillary
internal import CMessageSockets
public import SocketEngine

/// A listening Unix socket, which makes connections of one kind: `UnixListener<UnixStream>` or `UnixListener<UnixSeqpacket>`.
/// ```swift
/// let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: "/run/app.sock"))
/// for try await connection in listener.connections { … }
/// ```
public actor UnixListener<Connection: UnixConnection>: SocketListener {
  public nonisolated let channel: SocketChannel

  /// What the listener is bound to.
  public nonisolated let address: UnixAddress

  public nonisolated let connectionGroup: IOLoopGroup?

  private init(channel: SocketChannel, address: UnixAddress, group: IOLoopGroup?) {
    self.channel = channel
    self.address = address
    connectionGroup = group
  }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }

  public static func makeConnection(_ channel: SocketChannel) -> Connection { Connection(channel: channel) }

  /// Binds a new socket and starts to listen. The C names are bind(2) and listen(2).
  ///
  /// - Parameters:
  ///   - address: A path, whose directory must exist; or an abstract address, which ends with the listener.
  ///   - backlog: How many connections may wait to be accepted; the kernel takes at most `net.core.somaxconn` (4,096).
  ///   - binding: For a path: the file's permissions, and what becomes of it. By default only this user may connect, a dead socket's file is replaced, and the file is removed with the
  ///     listener.
  ///   - group: Loops to spread the accepted connections over, in turn. ``SocketListener/serve(_:onError:handler:)`` handles each where it lives.
  /// - Throws: ``SocketError``, with the address: `addressInUse` (also: what stands at the path may not be replaced; ``SocketError/detail`` says why), `notPermitted`,
  ///   `notFound` (no such directory), `outOfDescriptors`.
  public static func bind(
    to address: UnixAddress, backlog: Int = 1024, binding: UnixBinding = UnixBinding(), on loop: IOLoop? = nil,
    connectionsOn group: IOLoopGroup? = nil
  ) throws(SocketError) -> UnixListener {
    let loop = try IOLoop.resolve(loop)
    let descriptor = try Connection.form.make()
    let file = try binding.bind(descriptor, to: address)
    let channel = try Connection.form.listen(descriptor, boundTo: file, at: AnySocketAddress(address), backlog: backlog, on: loop)
    return UnixListener(channel: channel, address: address, group: group)
  }
}
