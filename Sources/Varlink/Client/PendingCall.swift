// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
internal import SocketEngine

/// A call with replies still to come. Replies wait here for the task that made the call.
final class PendingCall: Sendable {
  /// Whether several replies may come.
  let wantsMore: Bool

  private struct State {
    var replies = Deque<RawReply>()
    /// Set when no further reply comes; an error if the last reply is missing.
    var end: Result<Void, any Error>?
    var isAbandoned = false
    /// The task that waits for a reply.
    var consumer: CheckedContinuation<RawReply?, any Error>?
    /// The receiving task, which waits until there is room.
    var producer: CheckedContinuation<Void, Never>?
  }

  private let state = TSanVisibleMutex(State())

  /// How many replies may wait for their task before the connection stops receiving. This is the
  /// back-pressure for `more`.
  private static let window = 8

  init(wantsMore: Bool) { self.wantsMore = wantsMore }

  // MARK: The connection

  /// Adds a reply, and waits until there is room for another.
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

  /// Ends the call because the connection has ended.
  func fail(_ error: any Error) {
    let (consumer, producer) = state.withLock { state in
      if state.end == nil { state.end = .failure(error) }
      return (state.consumer.take(), state.producer.take())
    }
    consumer?.resume(throwing: error)
    producer?.resume()
  }

  // MARK: The task that made the call

  /// The next reply; nil after the last one. A reply that has arrived wins over a cancellation.
  ///
  /// - Throws: `CancellationError`; the error with which the connection ended.
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
      // An earlier cancellation found no consumer to resume; a later one finds this consumer.
      if Task.isCancelled { return (.failure(CancellationError()), nil) }
      precondition(state.consumer == nil, "Two tasks iterate over the replies of one call")
      state.consumer = continuation
      return (nil, nil)
    }
  }

  /// Gives up the call: received replies are dropped with their descriptors.
  ///
  /// - Returns: Whether this is the first time and replies are still to come.
  func abandon() -> Bool {
    let (isNew, producer) = state.withLock { state in
      let isNew = !state.isAbandoned && state.end == nil
      state.isAbandoned = true
      // A later call must not wait for the replies that were dropped.
      if isNew { state.end = .success(()) }
      state.replies.removeAll()
      return (isNew, state.producer.take())
    }
    producer?.resume()
    return isNew
  }
}
