// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// How the loop's turn should wait in the kernel.
enum Wait: Sendable, Equatable {
  /// Submit and collect, but come back at once.
  case none
  /// Until something completes or the loop is woken.
  case indefinitely
  /// The same, at most this many nanoseconds.
  case nanoseconds(Int64)
}

/// The thin shell between operations and the kernel. Two of them run for real: `RingDriver` on
/// io_uring, `EpollDriver` on epoll.
///
/// A driver is created, used and closed on its loop's thread. For each operation that was started
/// it delivers completions, of which the last lacks `cms_completion_more`; that one comes exactly
/// once, also for an operation that was cancelled.
protocol Driver: AnyObject {
  /// Hands the operation to the kernel, now or in the next ``turn(_:)``.
  func start(_ operation: Operation)
  /// Sends without the queue of requests, if the kernel takes the message right away: bytes, or a
  /// negative errno, as a completion says it. Nil: ``start(_:)`` it.
  func sendDirectly(_ operation: Operation) -> Int32?
  /// Asks for the operation's early end. Its final completion says who won.
  func cancel(_ operation: Operation)
  /// Submits what was started, and waits as told. Completions are collected with ``reap(into:)``.
  ///
  /// What the kernel says if it will never let the driver do that again; else nil.
  func turn(_ wait: Wait) -> Errno?
  /// Whether a turn costs one system call, whatever it submits. Then a request that nobody else
  /// would share it with may as well be submitted at once.
  var submitsByOneCall: Bool { get }
  /// Whether a cancelled accept may keep the news of a connection from others who wait for one.
  var losesWakeUps: Bool { get }
  /// Moves completions out, at most as many as there is room for; 0 when there are no more for now.
  func reap(into completions: UnsafeMutableBufferPointer<cms_completion>) -> Int
  /// Where multishot receives put their messages; nil if this driver, or this kernel, has none of
  /// them.
  var receiveBuffers: ReceiveBuffers? { get }
  /// The loop has called shutdown(2) on a socket of its own: what waits on it may have come to its
  /// end.
  func socketWasShutDown(_ number: Int32)
  /// Lets go of the kernel's side. All operations have had their final completion.
  func close()
  /// The same after a ``turn(_:)`` that was refused, with operations under way: when this returns
  /// the kernel reads and writes no memory of theirs any more.
  func closeAfterFailure()

  var counters: DriverCounters { get }
}

extension Driver {
  func closeAfterFailure() { close() }
  func sendDirectly(_ operation: Operation) -> Int32? { nil }
  var submitsByOneCall: Bool { true }
  var losesWakeUps: Bool { false }
  func socketWasShutDown(_ number: Int32) {}
}

/// What a driver counts.
struct DriverCounters: Sendable, Equatable {
  /// System calls that submitted or waited (`io_uring_enter`, `epoll_wait`).
  var enters: UInt64 = 0
  /// Requests handed to the kernel.
  var submissions: UInt64 = 0
  init() {}
}
