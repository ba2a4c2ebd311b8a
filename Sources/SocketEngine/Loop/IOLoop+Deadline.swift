// SPDX-License-Identifier: Apache-2.0
extension IOLoop {
  /// Runs `body` on the loop, and cancels it at `deadline`: for a connect, an accept, a send, or
  /// several calls together. A single receive has a form of its own, which costs less:
  /// ``MessageSocket/receiveMessage(deadline:)``.
  ///
  /// What `body` returns wins also against a deadline that has passed: nothing that it took from a
  /// socket is lost.
  ///
  /// - Throws: what `body` throws; ``SocketError`` with the code `deadlineExceeded` where that is a
  ///   `CancellationError` that the deadline has caused.
  public nonisolated func withDeadline<R: Sendable>(
    _ deadline: ContinuousClock.Instant, _ body: @escaping @Sendable () async throws -> R
  ) async throws -> R {
    try await withThrowingTaskGroup(of: DeadlineRace<R>.self) { group in
      group.addTask(executorPreference: taskExecutor) { .finished(try await body()) }
      group.addTask(executorPreference: taskExecutor) {
        do {
          try await self.sleep(for: deadline - .now)
          return .deadlinePassed
        } catch {
          // The body decides: also when the loop is shut down it may have taken something.
          return .stopped
        }
      }
      var hasPassed = false
      do {
        while let event = try await group.next() {
          switch event {
          case .finished(let result):
            group.cancelAll()
            return result
          case .deadlinePassed:
            hasPassed = true
            group.cancelAll()
          case .stopped: break
          }
        }
      } catch is CancellationError where hasPassed {
        throw SocketError(.deadlineExceeded, .wait)
      }
      preconditionFailure("The body ends with a result or an error")
    }
  }
}

private enum DeadlineRace<R: Sendable>: Sendable {
  case finished(R)
  case deadlinePassed
  /// Without having passed.
  case stopped
}
