// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import SocketEngine

@Suite struct DeadlineHeapTests {
  @Test func firesInOrderAndNotBeforeTime() {
    var timers = DeadlineHeap<Int>()
    for (index, milliseconds) in [30, 10, 20].enumerated() {
      timers.add(index, deadline: LoopTime(after: .milliseconds(milliseconds)))
    }
    #expect(timers.popDue(at: .now) == nil)
    let later = LoopTime(after: .seconds(1))
    let fired = [timers.popDue(at: later), timers.popDue(at: later), timers.popDue(at: later)]
    #expect(fired == [1, 2, 0])
    let next = timers.next
    #expect(next == nil)
  }

  @Test func doublesBeforeItIsCompacted() {
    var timers = DeadlineHeap<Int>()
    for index in 0...64 { timers.add(index, deadline: LoopTime(after: .seconds(index))) }
    let doubled = timers.hasDoubled
    #expect(doubled)
    timers.keep(timers.entries.filter { $0.value % 2 == 0 })
    let doubledAgain = timers.hasDoubled
    #expect(!doubledAgain)
    let count = timers.entries.count
    #expect(count == 33)
  }

  /// Durations near every boundary at which a conversion might fail.
  static let extremes: [Duration] = {
    let second: Int128 = 1_000_000_000_000_000_000
    let nanosecond: Int128 = 1_000_000_000
    let boundaries: [Int128] = [
      0, nanosecond, second, Int128(Int64.max) * nanosecond, Int128(Int64.max),
      Int128(Int64.max) * second, .max,
    ]
    let all = boundaries.flatMap { boundary in
      [boundary, -boundary].flatMap { [$0 &- 1, $0, $0 &+ 1] }
    }
    return (all + [.min]).map { Duration(attoseconds: $0) }
  }()

  @Test(arguments: extremes, [LoopTime(after: .zero), .first, .last])
  func everyDurationHasADeadlineAndAWait(_ duration: Duration, _ start: LoopTime) {
    let deadline = LoopTime(after: duration, from: start)
    #expect(deadline.nanoseconds >= 0)
    // The definition, computed in attoseconds.
    let sum = (Int128(start.nanoseconds) * 1_000_000_000).addingReportingOverflow(
      duration.attoseconds)
    let exact = sum.overflow ? (duration > .zero ? .max : .min) : sum.partialValue
    #expect((deadline == .first) == (exact <= 0))
    #expect((deadline == .last) == (exact > Int128(Int64.max - 1) * 1_000_000_000))
    if duration > .zero, start != .last { #expect(deadline > start) }
    if duration < .nanoseconds(-1), start != .first { #expect(deadline < start) }
    if duration == .zero { #expect(deadline == start) }
    for now in [start, .first, .last] {
      let wait = deadline.nanosecondsToWait(from: now)
      #expect((0...LoopTime.longestWait).contains(wait))
      #expect((wait == 0) == (deadline <= now))
    }
  }

  @Test func theClockCountsTheTimeInSuspend() {
    let (before, now, after) = (ContinuousClock.now, LoopTime.now, ContinuousClock.now)
    // A `timespec`: seconds, then nanoseconds.
    var time: [Int64] = [0, 0]
    time.withUnsafeMutableBytes {
      _ = clock_gettime(CLOCK_BOOTTIME, $0.baseAddress!.assumingMemoryBound(to: timespec.self))
    }
    let boot = time[0] * 1_000_000_000 + time[1]
    #expect(now.nanoseconds <= boot)
    #expect(before <= after)
    #expect(boot - now.nanoseconds < 60_000_000_000)
  }

  @Test func whatIsDueStandsInFrontOfWhatNeverComes() {
    var timers = DeadlineHeap<Int>()
    for (index, duration) in [Duration(attoseconds: .max), .zero, Duration(attoseconds: .min)]
      .enumerated()
    {
      timers.add(index, deadline: LoopTime(after: duration))
    }
    let now = LoopTime(after: .zero)
    let due = [timers.popDue(at: now), timers.popDue(at: now), timers.popDue(at: now)]
    #expect(due == [2, 1, nil])
  }

  @Test(arguments: extremes) func whatIsLeftUntilAnInstantIsNeverNegative(_ duration: Duration) {
    // An instant can be as far from the clock's start as a duration can express; sums beyond that
    // trap in the standard library.
    let start = ContinuousClock.now
    let distance = Duration(attoseconds: duration.attoseconds / 2)
    let left = Deadline(start.advanced(by: distance)).timeLeft
    #expect(left >= .zero && left <= max(.zero, distance) + .nanoseconds(1))
    if distance <= .zero { #expect(left == .zero) }
  }
}

extension LoopTime {
  static let first = LoopTime(after: Duration(attoseconds: .min))
  static let last = LoopTime(after: Duration(attoseconds: .max))
}
