internal import Harness
internal import MessageSockets

/// `receiveMessage()`, again and again.
struct OneByOne<Socket: BenchSocket>: Receiving {
  private let socket: Socket
  private var inbox: Inbox

  init(_ socket: Socket, _ options: Options) {
    self.socket = socket
    inbox = Inbox(options)
  }

  mutating func receive() async throws -> Int? {
    guard let message = try await socket.receiveMessage() else { return nil }
    return try inbox.take(message)
  }
}
