// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SeededRandom
import Synchronization

/// State that all connections of a run share.
final class Circumstances: Sendable {
  let tally: Tally
  private let over = Atomic(false)

  init(tally: Tally) { self.tally = tally }

  /// Whether no further message may be started.
  var isOver: Bool { over.load(ordering: .relaxed) }
  func end() { over.store(true, ordering: .relaxed) }
}

/// Runs `body` in a separate task, and cancels that task after a random delay.
func cancelled<R: Sendable>(
  _ random: inout SeededGenerator, on executor: (any TaskExecutor)?, loop: IOLoop,
  _ body: @escaping @Sendable () async -> R
) async -> R {
  let task = Task(executorPreference: executor) { await body() }
  if random.oneIn(2) {
    for _ in 0..<random.number(0...4) { await Task.yield() }
  } else {
    try? await loop.sleep(for: .microseconds(random.number(1...2000)))
  }
  task.cancel()
  if random.oneIn(4) { task.cancel() }
  return await task.value
}
