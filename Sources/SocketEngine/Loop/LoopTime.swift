// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// A point on the loop's clock, `CLOCK_BOOTTIME`, in nanoseconds, from 0 to `Int64.max` (292
/// years).
///
/// `ContinuousClock` uses this clock too; it continues while the machine is suspended. Arithmetic
/// saturates: a time before the range becomes the first, and a time beyond it becomes the last,
/// which never comes.
struct LoopTime: Comparable, Sendable {
  let nanoseconds: Int64

  static var now: LoopTime { LoopTime(nanoseconds: cms_clock_nanoseconds()) }

  /// Creates the time `duration` after `start`, rounded up, so that no wait is shorter than
  /// requested.
  init(after duration: Duration, from start: LoopTime = .now) {
    // A `Duration` can hold more seconds than its `components`, but its attoseconds fit.
    let (whole, rest) = duration.attoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    let sum = Int128(start.nanoseconds) + whole + (rest > 0 ? 1 : 0)
    self.init(nanoseconds: Int64(clamping: max(0, sum)))
  }

  /// The time of the kernel's last clock tick, 1 to 10 ms ago. Reading it costs a few nanoseconds.
  /// The clock stops while the system is suspended, so compare only times within one job.
  static var coarse: LoopTime { LoopTime(nanoseconds: cms_clock_coarse_nanoseconds()) }

  init(_ deadline: Deadline) { self.init(nanoseconds: deadline.nanoseconds) }

  private init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  static func < (left: LoopTime, right: LoopTime) -> Bool { left.nanoseconds < right.nanoseconds }

  /// How long to wait in the kernel before checking the clock again, in nanoseconds; 0 if the time
  /// has come.
  var nanosecondsFromNow: Int64 { nanosecondsToWait(from: .now) }

  func nanosecondsToWait(from now: LoopTime) -> Int64 {
    // Neither is negative, so the difference cannot overflow.
    min(max(0, nanoseconds - now.nanoseconds), Self.longestWait)
  }

  /// The longest wait in the kernel. The kernel's timeouts stop while the machine is suspended and
  /// continue afterwards, so a deadline that passes during a suspension is noticed up to this much
  /// later.
  static let longestWait: Int64 = 10_000_000_000
}
