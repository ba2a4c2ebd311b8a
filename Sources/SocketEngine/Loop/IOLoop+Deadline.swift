// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

extension IOLoop {
  /// Runs `body` on the loop, and cancels it at `deadline`: for a connect, an accept, a send, or
  /// several calls together. A single receive has a form of its own, which costs less:
  /// ``MessageSocket/receiveMessage(options:deadline:)``.
  ///
  /// What `body` returns wins also against a deadline that has passed: nothing that it took from a
  /// socket is lost.
  ///
  /// A deadline that has passed takes effect in the loop's next turn. Time during which the machine
  /// is suspended counts: see ``sleep(for:)``.
  ///
  /// - Parameter purpose: What `body` is to have done by then, for the error's
  ///   ``SocketError/detail``. That also names the calls of this package that the deadline has
  ///   cancelled.
  /// - Throws: what `body` throws; ``SocketError`` with the code `deadlineExceeded` where that is a
  ///   `CancellationError` that the deadline has caused.
  public nonisolated func withDeadline<R: Sendable>(
    _ deadline: Deadline, for purpose: String? = nil,
    _ body: @escaping @Sendable () async throws -> R
  ) async throws -> R {
    let cancelled = CancelledCalls(within: CancelledCalls.current)
    return try await withThrowingTaskGroup(of: DeadlineRace<R>.self) { group in
      group.addTask(executorPreference: taskExecutor) {
        .finished(try await CancelledCalls.$current.withValue(cancelled) { try await body() })
      }
      group.addTask(executorPreference: taskExecutor) {
        do {
          try await self.sleep(for: deadline.timeLeft)
          return .deadlinePassed
        } catch {
          // The body decides how the race ends: even if the loop is shut down, it may have taken
          // something.
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
        throw SocketError(.deadlineExceeded, .wait, detail: cancelled.description(for: purpose))
      }
      preconditionFailure("The body ends with a result or an error")
    }
  }
}

/// Records the calls that were cancelled inside a ``IOLoop/withDeadline(_:for:_:)``, because a
/// `CancellationError` does not name them.
final class CancelledCalls: Sendable {
  @TaskLocal static var current: CancelledCalls?

  private let outer: CancelledCalls?
  private let operations = Mutex<[SocketError.Operation]>([])

  init(within outer: CancelledCalls?) { self.outer = outer }

  /// Records that the call was cancelled, and returns the error for it.
  static func error(of operation: SocketError.Operation) -> CancellationError {
    var calls = current
    while let these = calls {
      these.operations.withLock { if !$0.contains(operation) { $0.append(operation) } }
      calls = these.outer
    }
    return CancellationError()
  }

  /// A description of what the task waited for, such as `waited for receive` or
  /// `waited for the answer: connect, receive`. Nil if nothing is known.
  func description(for purpose: String?) -> String? {
    let calls = operations.withLock { $0.map(\.rawValue) }.joined(separator: ", ")
    let parts = [purpose, calls.isEmpty ? nil : calls].compactMap { $0 }
    return parts.isEmpty ? nil : "waited for " + parts.joined(separator: ": ")
  }
}

private enum DeadlineRace<R: Sendable>: Sendable {
  case finished(R)
  case deadlinePassed
  /// The sleep ended before the deadline.
  case stopped
}
