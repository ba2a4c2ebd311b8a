// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
internal import SocketEngine

/// A call whose replies have not all come: where they wait for the task that made it.
final class PendingCall: Sendable {
  /// Whether several replies may come.
  let wantsMore: Bool

  private struct State {
    var replies = Deque<RawReply>()
    /// No further reply comes; with the reason, if the last is missing.
    var end: Result<Void, any Error>?
    var isAbandoned = false
    /// The task that waits for a reply.
    var consumer: CheckedContinuation<RawReply?, any Error>?
    /// The connection, which waits until there is room.
    var producer: CheckedContinuation<Void, Never>?
  }

  private let state = TSanVisibleMutex(State())

  /// How many replies wait for their task, before no more is received: back-pressure for `more`.
  private static let window = 8

  init(wantsMore: Bool) { self.wantsMore = wantsMore }

  // MARK: The connection

  /// Hands over a reply, and waits until there is room for another one.
  ///
  /// - Returns: Whether the call was abandoned, so that the reply is dropped.
  func put(_ reply: RawReply) async -> Bool {
    let (consumer, isAbandoned) = take(reply)
    consumer?.resume(returning: reply)
    guard reply.message.continues, !isAbandoned, consumer == nil else { return isAbandoned }
    await withCheckedContinuation { continuation in
      let mustWait = state.withLock { state in
        guard state.replies.count >= Self.window, state.end == nil else { return false }
        state.producer = continuation
        return true
      }
      if !mustWait { continuation.resume() }
    }
    return false
  }

  private func take(_ reply: RawReply) -> (
    CheckedContinuation<RawReply?, any Error>?, isAbandoned: Bool
  ) {
    state.withLock { state in
      if state.isAbandoned || state.end != nil { return (nil, state.isAbandoned) }
      if !reply.message.continues { state.end = .success(()) }
      if let consumer = state.consumer.take() { return (consumer, false) }
      state.replies.append(reply)
      return (nil, false)
    }
  }

  /// The connection has ended.
  func fail(_ error: any Error) {
    let (consumer, producer) = state.withLock { state in
      if state.end == nil { state.end = .failure(error) }
      return (state.consumer.take(), state.producer.take())
    }
    consumer?.resume(throwing: error)
    producer?.resume()
  }

  // MARK: The task that made the call

  /// The next reply, nil behind the last. One that has arrived wins against a cancellation.
  ///
  /// - Throws: `CancellationError`; why the connection has ended.
  func next() async throws -> RawReply? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let (outcome, producer) = takeNext(orWait: continuation)
        producer?.resume()
        if let outcome { continuation.resume(with: outcome) }
      }
    } onCancel: {
      state.withLock { $0.consumer.take() }?.resume(throwing: CancellationError())
    }
  }

  private func takeNext(
    orWait continuation: CheckedContinuation<RawReply?, any Error>
  ) -> (Result<RawReply?, any Error>?, CheckedContinuation<Void, Never>?) {
    state.withLock { state in
      if let reply = state.replies.popFirst() { return (.success(reply), state.producer.take()) }
      if let end = state.end { return (end.map { nil }, nil) }
      // A cancellation that came before has found no consumer; one that comes from now on finds it.
      if Task.isCancelled { return (.failure(CancellationError()), nil) }
      precondition(state.consumer == nil, "Two tasks iterate over the replies of one call")
      state.consumer = continuation
      return (nil, nil)
    }
  }

  /// Gives up the call: replies that have arrived are dropped, with their descriptors.
  ///
  /// - Returns: Whether some are still to come, for the first time.
  func abandon() -> Bool {
    let (isNew, producer) = state.withLock { state in
      let isNew = !state.isAbandoned && state.end == nil
      state.isAbandoned = true
      // A later call must not wait for replies that were dropped.
      if isNew { state.end = .success(()) }
      state.replies.removeAll()
      return (isNew, state.producer.take())
    }
    producer?.resume()
    return isNew
  }
}
