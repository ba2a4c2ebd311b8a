// SPDX-License-Identifier: Apache-2.0
import MessageSockets

extension BrokerClient {
  /// Iterates until the task is cancelled. Returns all messages received by then, including one
  /// that won the race.
  func messagesUntilCancelled() async throws -> [ReceivedMessage] {
    var received: [ReceivedMessage] = []
    do {
      for try await message in socket.messages { received.append(message) }
    } catch is CancellationError {
      return received
    }
    throw Failure("the broker ended the connection")
  }
}

extension ThrowingTaskGroup {
  /// The next child's result; nil if that child was cancelled.
  mutating func nextUnlessCancelled() async throws -> ChildTaskResult? {
    do { return try await next() } catch is CancellationError { return nil }
  }
}
