// SPDX-License-Identifier: Apache-2.0
/// How an operation that cannot be done yet is to wait.
enum Patience {
  /// Readiness tells, always.
  case readiness
  /// Readiness tells that there is room. It does not tell that the peer has shut down its reading
  /// side, or that another process has shut down our writing side (the event is raised, but epoll
  /// finds nothing ready and drops it): looked after from time to time.
  case roomOrShutdown
  /// Nothing tells: the full queue of an unconnected peer is no event on our socket.
  case backOff

  /// When to try again for the first time. Nil: never.
  var firstDelay: Duration? {
    switch self {
    case .readiness: nil
    case .roomOrShutdown: .milliseconds(16)
    case .backOff: .milliseconds(1)
    }
  }

  /// When to try again after `delay` was in vain.
  func delay(after delay: Duration) -> Duration {
    switch self {
    case .readiness: delay
    case .roomOrShutdown: min(delay * 2, .milliseconds(512))
    case .backOff: min(delay * 2, .milliseconds(32))
    }
  }
}
