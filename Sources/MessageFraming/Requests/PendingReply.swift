// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// Where a request's reply is put, and waited for.
final class PendingReply: Sendable {
  private struct State {
    var result: Result<Frame, any Error>?
    var waiter: CheckedContinuation<Frame, any Error>?
  }

  private let state = TSanVisibleMutex(State())

  /// The first result stays.
  func fulfil(_ result: Result<Frame, any Error>) {
    let waiter = state.withLock { state in
      if state.result == nil { state.result = result }
      return state.waiter.take()
    }
    waiter?.resume(with: result)
  }

  /// Waits for the result. One that is there wins against a cancellation.
  func value() async throws -> Frame {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let result = state.withLock { state -> Result<Frame, any Error>? in
          if let result = state.result { return result }
          // A cancellation that came before has found no waiter; one that comes from now on finds
          // it.
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
