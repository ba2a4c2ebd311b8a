// SPDX-License-Identifier: Apache-2.0

/// When a call stops waiting: a point in time, or never.
///
/// ```swift
/// let reply = try await socket.receiveMessage(deadline: .now + .seconds(5))
/// ```
/// One deadline can hold for several calls:
/// ```swift
/// let deadline = Deadline.now + .seconds(5)
/// try await socket.sendMessage(request, deadline: deadline)
/// let reply = try await socket.receiveMessage(deadline: deadline)
/// ```
/// It is a number of nanoseconds on the clock of `ContinuousClock` (`CLOCK_BOOTTIME`), which
/// continues while the machine is suspended. Unlike an instant of that clock its size is known when
/// a program is compiled, so that a call without a deadline pays nothing for the parameter.
/// Arithmetic saturates: a time before the machine's start is the start, and one more than 292
/// years after it is ``never``.
@frozen
public struct Deadline: Hashable, Comparable, Sendable {
  /// From 0 to `Int64.max`, which is never.
  @usableFromInline
  let nanoseconds: Int64

  @inlinable
  init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// No deadline: the call waits until what it waits for has come, or its task is cancelled.
  @inlinable
  public static var never: Deadline { Deadline(nanoseconds: .max) }

  /// This moment: the call takes what is there, and does not wait.
  public static var now: Deadline { Deadline(LoopTime.now) }

  /// The same point in time as an instant of the continuous clock.
  public init(_ instant: ContinuousClock.Instant) {
    let now = ContinuousClock.now
    // A difference to an instant that has passed could be too large for a `Duration`.
    self.init(LoopTime(after: instant <= now ? .zero : instant - now))
  }

  private init(_ time: LoopTime) { self.init(nanoseconds: time.nanoseconds) }

  /// The time left; zero when the deadline has passed. Of ``never``, more than 290 years.
  public var timeLeft: Duration {
    .nanoseconds(nanoseconds - min(nanoseconds, LoopTime.now.nanoseconds))
  }

  /// The deadline that comes a duration later, rounded up to nanoseconds.
  public static func + (deadline: Deadline, duration: Duration) -> Deadline {
    deadline == .never
      ? .never : Deadline(LoopTime(after: duration, from: LoopTime(deadline)))
  }

  /// The deadline that comes a duration earlier, rounded up to nanoseconds.
  public static func - (deadline: Deadline, duration: Duration) -> Deadline {
    deadline + (.zero - duration)
  }

  /// Whether the first deadline comes before the second.
  @inlinable
  public static func < (left: Deadline, right: Deadline) -> Bool {
    left.nanoseconds < right.nanoseconds
  }
}
