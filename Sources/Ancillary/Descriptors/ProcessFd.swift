// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
public import SystemPackage

/// A descriptor that stands for a process (a pidfd): it never means another process, even when the
/// number of the dead one is reused. The C name is `SCM_PIDFD` (Linux 6.5; pidfd_open(2)).
///
/// It becomes readable (poll(2)) when the process ends. Closed with the value.
@frozen
public struct ProcessFd: ~Copyable, Sendable {
  @usableFromInline let descriptor: OwnedFd

  /// Takes a descriptor that is known to be a pidfd, as from pidfd_open(2) or `SO_PEERPIDFD`.
  public init(adopting descriptor: consuming OwnedFd) { self.descriptor = descriptor }

  /// Gives the descriptor away without closing it.
  public consuming func release() -> OwnedFd { descriptor }

  /// A second descriptor for the same process, close-on-exec. The C name is `F_DUPFD_CLOEXEC`.
  ///
  /// - Throws: `EMFILE` when the process has no descriptor left.
  public borrowing func duplicate() throws(Errno) -> ProcessFd {
    ProcessFd(adopting: try descriptor.duplicate())
  }

  /// Lends the raw descriptor, for poll(2), pidfd_send_signal(2), waitid(2) with `P_PIDFD`.
  public borrowing func withUnsafeFileDescriptor<R: ~Copyable, E: Error>(
    _ body: (FileDescriptor) throws(E) -> R
  ) throws(E) -> R {
    try descriptor.withUnsafeFileDescriptor(body)
  }

  /// The process's number in our PID namespace, while the process exists (including after it has
  /// ended, until it is waited for). Nil afterwards, and for a process that is not visible in our
  /// namespace. Reads /proc/self/fdinfo.
  ///
  /// What was learnt from a number (/proc/N/exe, a name in a log) is true of *this* process if the
  /// number is still the same after it was learnt: numbers are reused, descriptors are not.
  public var processID: Int32? {
    var process: Int32 = 0
    // SAFETY: the call writes one number, to a local variable.
    let result = withUnsafeFileDescriptor { unsafe cms_process_of_pidfd($0.rawValue, &process) }
    return result == 0 && process > 0 ? process : nil
  }
}
