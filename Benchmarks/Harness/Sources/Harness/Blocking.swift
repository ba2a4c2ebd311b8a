// SPDX-License-Identifier: Apache-2.0
internal import Dispatch
internal import Synchronization

/// Runs `body` as a task, and blocks the calling thread until it ends. For `main`, which thereby
/// stays an ordinary thread: an asynchronous `main` ends it, which valgrind does not survive.
public func runBlocking(_ body: @escaping @Sendable () async throws -> Void) throws {
  let outcome = Outcome()
  Task {
    do { try await body() } catch { outcome.failure.withLock { $0 = error } }
    outcome.ended.signal()
  }
  outcome.ended.wait()
  if let failure = outcome.failure.withLock({ $0 }) { throw failure }
}

private final class Outcome: Sendable {
  let ended = DispatchSemaphore(value: 0)
  let failure = Mutex<(any Error)?>(nil)
}
