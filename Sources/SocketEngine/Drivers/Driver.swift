// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// How the loop's turn should wait in the kernel.
enum Wait: Sendable, Equatable {
  /// Submit and collect completions without waiting.
  case none
  /// Wait until something completes or the loop is woken.
  case indefinitely
  /// Wait like `indefinitely`, but at most this many nanoseconds.
  case nanoseconds(Int64)
}

/// The interface between operations and the kernel. Two drivers exist outside tests: `RingDriver`
/// on io_uring and `EpollDriver` on epoll.
///
/// A driver is created, used and closed on its loop's thread. For each started operation it
/// delivers completions, of which only the last lacks `cms_completion_more`. That final completion
/// comes exactly once, even if the operation was cancelled.
protocol Driver: AnyObject {
  /// Hands the operation to the kernel, now or in the next ``turn(_:)``.
  func start(_ operation: Operation)
  /// Sends without a submission entry if the kernel takes the message immediately. Returns the
  /// number of bytes or a negative errno, as a completion would. Nil means that the caller must
  /// ``start(_:)`` the operation.
  func sendDirectly(_ operation: Operation) -> Int32?
  /// Asks the kernel to end the operation early. The final completion tells whether it was
  /// cancelled.
  func cancel(_ operation: Operation)
  /// Submits the started operations, and waits as requested. ``reap(into:)`` collects the
  /// completions.
  ///
  /// Returns the kernel's error if the driver can never do a turn again; otherwise nil.
  func turn(_ wait: Wait) -> Errno?
  /// Whether a turn costs one system call however much it submits. If so, submitting a request
  /// immediately costs nothing extra when no other request would share the call.
  var submitsByOneCall: Bool { get }
  /// Whether a cancelled accept can swallow the wake-up of a connection, so that other waiters miss
  /// it.
  var losesWakeUps: Bool { get }
  /// Moves completions to the buffer, at most as many as fit. Returns 0 when there are no more for
  /// now.
  func reap(into completions: UnsafeMutableBufferPointer<cms_completion>) -> Int
  /// The buffers for multishot receives; nil if this driver or this kernel has no multishot
  /// receives.
  var receiveBuffers: ReceiveBuffers? { get }
  /// Tells the driver that the loop has called shutdown(2) on one of its sockets. Operations that
  /// wait on the socket may now be able to finish.
  func socketWasShutDown(_ number: Int32)
  /// Releases the kernel's resources. All operations have had their final completion.
  func close()
  /// Closes the driver after a failed ``turn(_:)``, while operations are in progress. When this
  /// returns, the kernel no longer reads or writes their memory.
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

/// The counters of a driver.
struct DriverCounters: Sendable, Equatable {
  /// System calls that submitted or waited (`io_uring_enter`, `epoll_wait`).
  var enters: UInt64 = 0
  /// Requests handed to the kernel.
  var submissions: UInt64 = 0
  init() {}
}
