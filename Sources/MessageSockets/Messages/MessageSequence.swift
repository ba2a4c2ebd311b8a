// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// The messages of a socket, as they arrive. See ``MessageSocket/messages``.
public struct MessageSequence<Socket: MessageSocket>: AsyncSequence, Sendable {
  public typealias Element = ReceivedMessage
  public typealias Failure = any Error

  private let socket: Socket
  private let window: ReceiveWindow
  private let policy: ReceivePolicy?
  private var endsWithDraining = false

  init(socket: Socket, window: ReceiveWindow, policy: ReceivePolicy?) {
    self.socket = socket
    self.window = window
    self.policy = policy
  }

  /// The messages up to the time when the socket's server drains: see
  /// ``MessageSocket/startDraining()``.
  ///
  /// From then on the iteration delivers the messages that have arrived, those received ahead and
  /// those in the kernel's queue, and ends where it would have to wait for another. A server whose
  /// handlers iterate so does not spend its grace period on idle clients. A peer that sends without
  /// a pause keeps the iteration going; ``MessageSocket/isDraining`` tells its loop.
  ///
  /// The end does not mean that the peer has said all that it wanted: of a stream, a part of a
  /// frame may have arrived. Where the end stands for success, as of a file that is uploaded, use
  /// the plain sequence, or ask ``MessageSocket/isDraining``.
  public func untilDraining() -> MessageSequence {
    var sequence = self
    sequence.endsWithDraining = true
    return sequence
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(
      socket: socket, window: window, policy: policy, endsWithDraining: endsWithDraining)
  }

  /// Receives one message a step. After the end, or an error, there is nothing more; what arrives
  /// behind an error, a new iteration has.
  public struct AsyncIterator: AsyncIteratorProtocol {
    private let socket: Socket
    private let window: ReceiveWindow
    /// The policy to set before the first step.
    private var policy: ReceivePolicy?
    private let endsWithDraining: Bool
    private var isFinished = false

    init(socket: Socket, window: ReceiveWindow, policy: ReceivePolicy?, endsWithDraining: Bool) {
      self.socket = socket
      self.window = window
      self.policy = policy
      self.endsWithDraining = endsWithDraining
    }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> ReceivedMessage? {
      if isFinished { return nil }
      do {
        if let policy = policy.take() { try await socket.setReceivePolicy(policy) }
        let message =
          endsWithDraining
          ? try await socket.nextMessageUntilDraining(window: window)
          : try await socket.nextMessage(window: window)
        isFinished = message == nil
        return message
      } catch {
        isFinished = true
        throw error
      }
    }
  }
}

// MARK: Steps of an iteration

extension MessageSocket {
  /// One step of an iteration. If `window` is nil, the socket keeps its window.
  @inline(__always)
  nonisolated func nextMessage(window: ReceiveWindow?) async throws -> ReceivedMessage? {
    let channel = channel
    guard channel.isOnLoop else { return try await nextMessageOnLoop(window: window) }
    return try ReceivedMessage.received(try await channel.receiveAhead(window: window), channel)
  }

  private func nextMessageOnLoop(window: ReceiveWindow?) async throws -> ReceivedMessage? {
    try ReceivedMessage.received(try await channel.receiveAhead(window: window), channel)
  }

  /// One step of an iteration that ends when the socket drains. If `window` is nil, the socket
  /// keeps its window.
  nonisolated func nextMessageUntilDraining(
    window: ReceiveWindow?
  ) async throws -> ReceivedMessage? {
    let channel = channel
    guard channel.isOnLoop else { return try await nextMessageUntilDrainingOnLoop(window: window) }
    guard let ended = try await channel.receiveUntilDraining(window: window) else { return nil }
    return try ReceivedMessage.received(ended, channel)
  }

  private func nextMessageUntilDrainingOnLoop(window: ReceiveWindow?) async throws
    -> ReceivedMessage?
  {
    guard let ended = try await channel.receiveUntilDraining(window: window) else { return nil }
    return try ReceivedMessage.received(ended, channel)
  }
}
