import MessageSockets
import Testing

@testable import SocketEngine

/// Waits, turn by turn, until the kernel has at least `count` operations of the loop's in hand. Each look is a job on the loop, so that the loop goes
/// through the kernel in between: no time passes by the clock.
func untilOperationsArePending(_ count: Int, on loop: IOLoop) async {
  while await loop.operationsInKernel < count { await Task.yield() }
}

/// Waits until the loop's senders wait for room: operations are in the kernel, and in many turns one after the other none has got anywhere. A send that has
/// room ends in the turn that submits it.
func untilSendsStall(on loop: IOLoop) async {
  var turnsWithoutProgress = 0
  var completions: UInt64 = 0
  while turnsWithoutProgress < 50 {
    await Task.yield()
    let now = await loop.statistics.completions
    let pending = await loop.operationsInKernel
    turnsWithoutProgress = now == completions && pending > 0 ? turnsWithoutProgress + 1 : 0
    completions = now
  }
}

/// Waits until at least `count` tasks wait for an operation or a message, in the kernel or in a queue. To be called on the loop.
func untilTasksWait(_ count: Int, on loop: IOLoop) async {
  while await loop.operationsInUse < count { await Task.yield() }
}

/// Expects that the loop sleeps where nothing can be done: its turns are counted for a tenth of a second.
func expectThatTheLoopRests(_ loop: IOLoop, sourceLocation: SourceLocation = #_sourceLocation) async throws {
  let before = await loop.statistics.enters
  try await loop.sleep(for: .milliseconds(100))
  let turns = await loop.statistics.enters - before
  #expect(turns < 100, "\(turns) turns in a tenth of a second, with nothing to do", sourceLocation: sourceLocation)
}
