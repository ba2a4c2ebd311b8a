// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// Receives the reply to a request, and lets its task wait for it.
final class PendingReply: Sendable {
  private struct State {
    var result: Result<Frame, any Error>?
    var waiter: CheckedContinuation<Frame, any Error>?
  }

  private let state = TSanVisibleMutex(State())

  /// Sets the result. Only the first one counts.
  func fulfil(_ result: Result<Frame, any Error>) {
    let waiter = state.withLock { state in
      if state.result == nil { state.result = result }
      return state.waiter.take()
    }
    waiter?.resume(with: result)
  }

  /// Waits for the result. A result that is available wins over a cancellation.
  func value() async throws -> Frame {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let result = state.withLock { state -> Result<Frame, any Error>? in
          if let result = state.result { return result }
          // An earlier cancellation found no waiter to resume; a later one finds this waiter.
          if Task.isCancelled { return .failure(CancellationError()) }
          state.waiter = continuation
          return nil
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      state.withLock { $0.waiter.take() }?.resume(throwing: CancellationError())
    }
  }
}
