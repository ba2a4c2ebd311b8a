// SPDX-License-Identifier: Apache-2.0
/// Why an operation was asked to end before the kernel finished it.
package enum StopReason: Sendable {
  /// The awaiting task was cancelled.
  case taskCancelled
  /// The caller's deadline passed.
  case deadline
  /// The socket was closed.
  case socketClosed
  /// The loop is shutting down.
  case loopShutdown
  /// The kernel refuses the loop's system call.
  case loopFailed
  /// Enough has been received ahead of demand.
  case windowFull
  /// Bytes that come before all that a receive can still bring were put back. It takes them.
  case bytesPutBack
  /// The socket was shut down for receiving, which the kernel does not tell a datagram socket's
  /// receives. They find the end.
  case receivingEnded
}
