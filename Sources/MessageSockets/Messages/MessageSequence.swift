// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// The messages of a socket, as they arrive. See ``MessageSocket/messages``.
public struct MessageSequence<Socket: MessageSocket>: AsyncSequence, Sendable {
  public typealias Element = ReceivedMessage
  public typealias Failure = any Error

  private let socket: Socket
  private let window: ReceiveWindow
  private let policy: ReceivePolicy?

  init(socket: Socket, window: ReceiveWindow, policy: ReceivePolicy?) {
    self.socket = socket
    self.window = window
    self.policy = policy
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(socket: socket, window: window, policy: policy)
  }

  /// Receives one message a step. After the end, or an error, there is nothing more; what arrives
  /// behind an error, a new iteration has.
  public struct AsyncIterator: AsyncIteratorProtocol {
    private let socket: Socket
    private let window: ReceiveWindow
    /// To be set before the first step.
    private var policy: ReceivePolicy?
    private var isFinished = false

    init(socket: Socket, window: ReceiveWindow, policy: ReceivePolicy?) {
      self.socket = socket
      self.window = window
      self.policy = policy
    }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> ReceivedMessage? {
      if isFinished { return nil }
      do {
        if let policy = policy.take() { try await socket.setReceivePolicy(policy) }
        let message = try await socket.nextMessage(window: window)
        isFinished = message == nil
        return message
      } catch {
        isFinished = true
        throw error
      }
    }
  }
}
