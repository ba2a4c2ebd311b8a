// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
public import MessageSockets
internal import SocketEngine
public import SystemPackage

/// A child process that ``ServiceCommand/start()`` has started.
///
/// Wait for its end once (``end()``): until then it stays in the system's list of processes. It
/// goes on when this value is dropped.
public final class ServiceProcess: Sendable {
  /// How a process has ended.
  public enum Ending: Hashable, Sendable {
    /// By exit(3), with this status.
    case exited(Int32)
    /// By this signal.
    case signalled(Int32)
  }

  /// Its number, which is its own until it was waited for.
  public let processID: Int32
  private let process: ProcessFd
  private let ending = TSanVisibleMutex<Ending?>(nil)

  init(_ processID: Int32, _ process: consuming ProcessFd) {
    self.processID = processID
    self.process = process
  }

  /// A descriptor for it, as for ``ProcessFd``.
  ///
  /// - Throws: `Errno.tooManyOpenFiles`.
  public func duplicateProcess() throws(Errno) -> ProcessFd { try process.duplicate() }

  /// Sends it a signal. The C name is pidfd_send_signal(2).
  ///
  /// - Throws: `Errno.noSuchProcess` when it has ended, and was waited for.
  public func signal(_ number: Int32) throws(Errno) {
    let result = process.withUnsafeFileDescriptor { cms_signal_process($0.rawValue, number) }
    guard result == 0 else { throw Errno(rawValue: -result) }
  }

  /// Waits until it has ended, and says how. Later calls say it again. The C name is waitid(2),
  /// with `P_PIDFD`.
  ///
  /// A thread of its own waits, so that no loop is held up.
  ///
  /// - Throws: `CancellationError`; then it can be waited for again. `Errno.noChild` when other
  ///   code of this process has waited for it, and `Errno.tooManyOpenFiles`.
  public func end() async throws -> Ending {
    let wait = try EndWait(process)
    let hasEnded = await withTaskCancellationHandler {
      await withCheckedContinuation { wait.start($0) }
    } onCancel: {
      wait.stop()
    }
    guard hasEnded else { throw CancellationError() }
    return try ending.withLock { (ending) throws(Errno) in
      if let ending { return ending }
      var status: Int32 = 0
      let result = process.withUnsafeFileDescriptor { process in
        unsafe cms_take_exit_status(process.rawValue, &status)
      }
      guard result == 0 else { throw Errno(rawValue: -result) }
      let found = status < 0 ? Ending.signalled(-status) : .exited(status)
      ending = found
      return found
    }
  }
}

/// A thread that waits until a process ends or the wait is stopped.
private final class EndWait: Sendable {
  private let process: ProcessFd
  private let wake: OwnedFd
  private let waiter = TSanVisibleMutex<CheckedContinuation<Bool, Never>?>(nil)

  init(_ process: borrowing ProcessFd) throws(Errno) {
    self.process = try process.duplicate()
    let number = cms_eventfd()
    guard number >= 0 else { throw Errno(rawValue: -number) }
    wake = OwnedFd(adopting: FileDescriptor(rawValue: number))
  }

  func start(_ continuation: CheckedContinuation<Bool, Never>) {
    waiter.withLock { $0 = continuation }
    // SAFETY: the new thread takes over this reference and releases it.
    let context = unsafe Unmanaged.passRetained(self)
    let body: @convention(c) (UnsafeMutableRawPointer?) -> Void = { context in
      unsafe Unmanaged<EndWait>.fromOpaque(context!).takeRetainedValue().run()
    }
    guard unsafe cms_thread_start(body, context.toOpaque(), "process-end") != 0 else { return }
    unsafe context.release()
    // No thread can be started, so wait here.
    run()
  }

  func stop() { _ = wake.withUnsafeFileDescriptor { cms_eventfd_signal($0.rawValue) } }

  private func run() {
    let hasEnded = process.withUnsafeFileDescriptor { process in
      wake.withUnsafeFileDescriptor { wake in cms_wait_for_end(process.rawValue, wake.rawValue) }
    }
    waiter.withLock { $0.take() }?.resume(returning: hasEnded == 1)
  }
}
