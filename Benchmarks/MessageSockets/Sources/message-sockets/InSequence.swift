internal import Harness
internal import MessageSockets

/// `messages`.
struct InSequence<Socket: BenchSocket>: Receiving {
  private var messages: MessageSequence<Socket>.AsyncIterator
  private var inbox: Inbox

  init(_ socket: Socket, _ options: Options) {
    messages = socket.messages.makeAsyncIterator()
    inbox = Inbox(options)
  }

  mutating func receive() async throws -> Int? {
    guard let message = try await messages.next(isolation: nil) else { return nil }
    return try inbox.take(message)
  }
}
