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
  ///   - address: A path, whose directory must exist and whose last component must not (the file stays when the listener is closed: remove it); or an
  ///     abstract address, which ends with the listener.
  ///   - backlog: How many connections may wait to be accepted; the kernel takes at most `net.core.somaxconn` (4,096).
  ///   - group: Loops to spread the accepted connections over, in turn. Handle each where it lives:
  ///     `group.addTask(executorPreference: connection.loop.taskExecutor) { … }`.
  /// - Throws: ``SocketError``: `addressInUse`, `notPermitted`, `notFound` (no such directory), `outOfDescriptors`.
  public static func bind(
    to address: UnixAddress, backlog: Int = 1024, on loop: IOLoop? = nil, connectionsOn group: IOLoopGroup? = nil
  ) throws(SocketError) -> UnixListener {
    let loop = try IOLoop.resolve(loop)
    let name = AnySocketAddress(address)
    let descriptor = try Connection.form.make()
    try descriptor.bind(to: name)
    let channel = try Connection.form.listen(descriptor, at: name, backlog: backlog, on: loop)
    return UnixListener(channel: channel, address: address, group: group)
  }
}
