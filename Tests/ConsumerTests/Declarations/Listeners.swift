// SPDX-License-Identifier: Apache-2.0
import MessageSockets

// Never run; see Sockets.swift.

private func anyListener<Listener: SocketListener>(_ listener: Listener) async throws {
  let _: Listener.Connection = try await listener.accept()
  var iterator = listener.connections.makeAsyncIterator()
  let _: Listener.Connection? = try await iterator.next(isolation: #isolation)
  for try await connection in listener.connections { await connection.close() }
  try await listener.serve { connection in
    let _: Listener.Connection = connection
  }
  try await listener.serve(
    ServeLimits(maximumConnections: 8, gracePeriod: .zero), onError: { (_: any Error) in }
  ) { _ in }
  let _: (IOLoop, IOLoopGroup?) = (listener.loop, listener.connectionGroup)
  await listener.close()
}

private func listeners(_ loop: IOLoop, _ group: IOLoopGroup) async throws {
  var binding = UnixBinding(
    permissions: [.ownerReadWrite, .groupReadWrite], replacesStaleFile: false, removesFile: false)
  binding.permissions = .ownerReadWrite
  let path = try UnixAddress(path: "/run/app.sock")
  let stream = try UnixListener<UnixStream>.bind(
    to: path, backlog: 16, binding: binding, on: loop, connectionsOn: group)
  let _: UnixAddress = stream.address
  let _ = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(abstract: "app"))
  let tcp = try TCPListener.bind(
    to: InternetAddress(.any, port: 80), backlog: 16, settings: [SocketSetting(.reusePort, true)],
    on: loop, connectionsOn: group)
  let _: InternetAddress = tcp.address
}

/// A listener that the user defines.
private actor OwnListener: SocketListener {
  nonisolated let channel: SocketChannel
  nonisolated let connectionGroup: IOLoopGroup? = nil
  nonisolated var unownedExecutor: UnownedSerialExecutor { channel.unownedExecutor }
  static func makeConnection(_ channel: SocketChannel) -> UnixStream {
    UnixStream(channel: channel)
  }

  init(_ descriptor: consuming OwnedFd, on loop: IOLoop) {
    channel = SocketChannel(adopting: descriptor, kind: .stream, loop: loop)
  }
}
