// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// A point on the loop's clock, `CLOCK_MONOTONIC`, in nanoseconds.
struct LoopTime: Comparable, Sendable {
  let nanoseconds: Int64

  static var now: LoopTime {
    var time = timespec()
    // SAFETY: `time` is a local; the clock always exists.
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return LoopTime(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  /// The time `duration` from now; the end of time if that is further away than the clock can tell
  /// (292 years).
  init(after duration: Duration) {
    let (seconds, attoseconds) = duration.components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let sum = LoopTime.now.nanoseconds.addingReportingOverflow(whole)
    guard !overflow, !sum.overflow else {
      self.init(nanoseconds: seconds < 0 ? .min : .max)
      return
    }
    let rest = sum.partialValue.addingReportingOverflow(attoseconds / 1_000_000_000)
    self.init(nanoseconds: rest.overflow ? .max : rest.partialValue)
  }

  private init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  var nanosecondsFromNow: Int64 {
    nanoseconds.subtractingReportingOverflow(LoopTime.now.nanoseconds).partialValue
  }

  static func < (left: LoopTime, right: LoopTime) -> Bool { left.nanoseconds < right.nanoseconds }
}
