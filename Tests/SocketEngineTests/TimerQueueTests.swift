// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SocketEngine

@Suite struct TimerQueueTests {
  private func id(_ index: Int) -> OperationID { OperationID(index: UInt32(index), generation: 0) }

  @Test func firesInOrderAndNotBeforeTime() {
    var timers = TimerQueue()
    for (index, milliseconds) in [30, 10, 20].enumerated() {
      timers.add(id(index), deadline: LoopTime(after: .milliseconds(milliseconds)), action: .stop)
    }
    #expect(timers.popDue(at: .now) == nil)
    let later = LoopTime(after: .seconds(1))
    let fired = [timers.popDue(at: later), timers.popDue(at: later), timers.popDue(at: later)].map {
      $0?.operation.index
    }
    #expect(fired == [1, 2, 0])
    let next = timers.next
    #expect(next == nil)
  }

  @Test func doublesBeforeItIsCompacted() {
    var timers = TimerQueue()
    for index in 0...64 {
      timers.add(id(index), deadline: LoopTime(after: .seconds(index)), action: .stop)
    }
    let doubled = timers.hasDoubled
    #expect(doubled)
    timers.keep(timers.entries.filter { $0.operation.index % 2 == 0 })
    let doubledAgain = timers.hasDoubled
    #expect(!doubledAgain)
    let count = timers.entries.count
    #expect(count == 33)
  }

  @Test func deadlinesBeyondTheClockAreTheEndOfTime() {
    #expect(LoopTime(after: .seconds(Int64.max)) > LoopTime(after: .seconds(1_000_000_000)))
    #expect(LoopTime(after: .seconds(-Int64.max)) < LoopTime.now)
  }
}
