// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

@testable import SocketEngine

/// Waits, turn by turn, until the kernel has at least `count` operations of the loop. Each check is
/// a job on the loop, so the loop enters the kernel in between; no clock is involved.
func untilOperationsArePending(
  _ count: Int, on loop: IOLoop, sourceLocation: SourceLocation = #_sourceLocation
) async {
  await turn("\(count) operations are pending", sourceLocation) {
    await loop.operationsInKernel >= count
  }
}

/// Waits until the loop's senders wait for room: operations are in the kernel, and for many
/// consecutive turns none has made progress. A send that has room ends in the turn that submits it.
func untilSendsStall(on loop: IOLoop, sourceLocation: SourceLocation = #_sourceLocation) async {
  var turnsWithoutProgress = 0
  var completions: UInt64 = 0
  await turn("the sends stall", sourceLocation) {
    let now = await loop.statistics.completions
    let pending = await loop.operationsInKernel
    turnsWithoutProgress = now == completions && pending > 0 ? turnsWithoutProgress + 1 : 0
    completions = now
    return turnsWithoutProgress >= 50
  }
}

/// Waits until at least `count` tasks wait for an operation or a message, in the kernel or in a
/// queue. Call it on the loop.
func untilTasksWait(
  _ count: Int, on loop: IOLoop, sourceLocation: SourceLocation = #_sourceLocation
) async {
  await turn("\(count) tasks wait", sourceLocation) { await loop.operationsInUse >= count }
}

/// Waits until there is no more activity: for many consecutive turns nothing was submitted or
/// completed.
func untilTasksRest(on loop: IOLoop, sourceLocation: SourceLocation = #_sourceLocation) async {
  var turns = 0
  var moved: UInt64 = 0
  await turn("all tasks wait", sourceLocation) {
    let statistics = await loop.statistics
    let now = statistics.completions + statistics.submissions
    turns = now == moved ? turns + 1 : 0
    moved = now
    return turns >= 50
  }
}

/// Takes turns until `condition` holds. If it never does, records a failure instead of hanging.
private func turn(
  _ expectation: @autoclosure () -> String, _ sourceLocation: SourceLocation,
  until condition: () async -> Bool
) async {
  let limit = ContinuousClock.now + .seconds(30)
  while await !condition() {
    await Task.yield()
    if ContinuousClock.now > limit {
      Issue.record("timed out waiting until \(expectation())", sourceLocation: sourceLocation)
      return
    }
  }
}

/// Expects that the loop sleeps while nothing can be done: counts its turns for a tenth of a
/// second, and repeats that if there were many, because TCP may still be transferring data.
func expectThatTheLoopRests(_ loop: IOLoop, sourceLocation: SourceLocation = #_sourceLocation)
  async throws
{
  var turns: UInt64 = 0
  for _ in 0..<10 {
    let before = await loop.statistics.enters
    try await loop.sleep(for: .milliseconds(100))
    turns = await loop.statistics.enters - before
    if turns < 100 { return }
  }
  Issue.record(
    "\(turns) turns in a tenth of a second, with nothing to do", sourceLocation: sourceLocation)
}
