public import Ancillary
internal import CMessageSockets
public import SocketEngine
internal import SystemPackage

/// A listening Unix socket, which makes connections of one kind: `UnixListener<UnixStream>` or `UnixListener<UnixSeqpacket>`.
/// ```swift
/// let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: "/run/app.sock"))
/// for try await connection in listener.connections { … }
/// ```
public actor UnixListener<Connection: UnixConnection> {
  nonisolated let channel: SocketChannel

  /// What the listener is bound to.
  public nonisolated let address: UnixAddress

  /// Where accepted connections live; the listener's own loop if there is none.
  private nonisolated let group: IOLoopGroup?

  private init(channel: SocketChannel, address: UnixAddress, group: IOLoopGroup?) {
    self.channel = channel
    self.address = address
    self.group = group
  }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }

  /// The loop that the listener lives on, and its connections too unless they are spread over a group.
  public nonisolated var loop: IOLoop { channel.loop }

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
    let loop = if let loop { loop } else { try IOLoop.currentOrShared() }
    let descriptor = try OwnedFd(adoptingResult: cms_unix_socket(Connection.kind.type), operation: .createSocket)
    let number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    let bound = address.withSocketAddressBytes { name in
      unsafe name.withUnsafeBytes { unsafe cms_bind(number, $0.baseAddress, UInt32($0.count)) }
    }
    guard bound == 0 else { throw SocketError(result: bound, .bind, address: address) }
    // The socket is new and ours alone: no other process has the open file whose flag this is.
    if loop.wantsNonblockingListeners {
      let changed = cms_set_nonblocking(number, true)
      guard changed == 0 else { throw SocketError(result: changed, .configure, address: address) }
    }
    let listening = cms_listen(number, Int32(clamping: backlog))
    guard listening == 0 else { throw SocketError(result: listening, .listen, address: address) }
    return UnixListener(channel: SocketChannel(adopting: descriptor, kind: Connection.kind, loop: loop), address: address, group: group)
  }

  /// Waits for the next connection. The C name is accept4(2), with `SOCK_CLOEXEC`.
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors` (the connection keeps waiting in the kernel; try again when some are free), `closed`, `loopShutDown`.
  ///   `CancellationError` when the task was cancelled: then no connection was taken. One that won the race is returned.
  public nonisolated func accept() async throws -> Connection {
    if channel.isOnLoop {
      try await acceptHere()
    } else {
      try await acceptOnLoop()
    }
  }

  /// The connections that arrive from now on; ends when the listener is closed.
  public nonisolated var connections: ConnectionSequence<Connection> { ConnectionSequence(listener: self) }

  /// Stops listening: waits for the kernel to let go, and closes the socket. Connections that were not accepted are closed by the kernel; the file of a
  /// path address stays.
  public nonisolated func close() async { await closeOnLoop() }

  private func acceptOnLoop() async throws -> Connection { try await acceptHere() }

  private nonisolated func acceptHere() async throws -> Connection {
    let descriptor = try await channel.accept()
    return Connection(channel: SocketChannel(adopting: descriptor, kind: Connection.kind, loop: group?.next() ?? channel.loop))
  }

  private func closeOnLoop() async { await channel.close() }
}
