internal import Harness
internal import MessageSockets

/// `receiveMessages(max:)`.
struct Batches<Socket: BenchSocket>: Receiving {
  /// As many as the baselines' bursts have.
  private static var size: Int { 16 }

  private let socket: Socket
  private var inbox: Inbox

  init(_ socket: Socket, _ options: Options) {
    self.socket = socket
    inbox = Inbox(options)
  }

  mutating func receive() async throws -> Int? {
    let batch = try await socket.receiveMessages(max: Self.size)
    if batch.isEmpty { return nil }
    return try batch.reduce(0) { try $0 + inbox.take($1) }
  }
}
