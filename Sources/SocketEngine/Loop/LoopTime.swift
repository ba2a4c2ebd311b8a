// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// A point on the loop's clock, `CLOCK_BOOTTIME`, in nanoseconds, from 0 to `Int64.max` (292
/// years).
///
/// It is the clock of `ContinuousClock`, which goes on while the machine is suspended. All
/// arithmetic stops at the two ends of the range: a time before the first is the first, one behind
/// the last is the last, which never comes.
struct LoopTime: Comparable, Sendable {
  let nanoseconds: Int64

  static var now: LoopTime { LoopTime(nanoseconds: cms_clock_nanoseconds()) }

  /// The time `duration` after `start`, rounded up: no wait is shorter than was asked for.
  init(after duration: Duration, from start: LoopTime = .now) {
    // A `Duration` is more seconds than its `components` can hold, but no more attoseconds than
    // this.
    let (whole, rest) = duration.attoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    let sum = Int128(start.nanoseconds) + whole + (rest > 0 ? 1 : 0)
    self.init(nanoseconds: Int64(clamping: max(0, sum)))
  }

  /// The time of the last tick of the kernel's clock, 1 to 10 ms ago. Asking costs a few
  /// nanoseconds. It stands while the system is suspended, so only times of one job compare.
  static var coarse: LoopTime { LoopTime(nanoseconds: cms_clock_coarse_nanoseconds()) }

  private init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  static func < (left: LoopTime, right: LoopTime) -> Bool { left.nanoseconds < right.nanoseconds }

  /// How long to wait in the kernel before looking at the clock again, in nanoseconds; 0 if the
  /// time has come.
  var nanosecondsFromNow: Int64 { nanosecondsToWait(from: .now) }

  func nanosecondsToWait(from now: LoopTime) -> Int64 {
    // Neither is negative, so the difference cannot overflow.
    min(max(0, nanoseconds - now.nanoseconds), Self.longestWait)
  }

  /// The kernel's own waits stand still while the machine is suspended, and go on afterwards with
  /// what was left of them. So none is longer than this, which is how late a deadline can be
  /// noticed that has passed meanwhile.
  static let longestWait: Int64 = 10_000_000_000
}

extension Duration {
  /// The time that is left until `deadline`; zero if it has passed, however long ago.
  ///
  /// `deadline - .now` would trap for instants that are further from now than a `Duration` can say.
  package init(until deadline: ContinuousClock.Instant) {
    let now = ContinuousClock.now
    self = deadline <= now ? .zero : deadline - now
  }
}
