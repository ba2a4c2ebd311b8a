// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

extension LoopCore {
  /// Starts the shutdown: all operations are cancelled, the driver is closed, and the loop
  /// continues as an executor only. Returns an event to wait for, or nil if the loop is closed
  /// already.
  func startShutdown() -> Operation? {
    if case .closed = phase { return nil }
    let ended = makeEvent()
    closers.append(ended.id)
    return ended
  }

  /// Runs between the jobs and the kernel. So operations that jobs have started reach the kernel
  /// before a task can notice the shutdown; if such a task then drops its socket, the peer's send
  /// does not fail. (Except for requests that found the submission queue full, which come later.)
  func endIfAsked() {
    if !closers.isEmpty { startDraining() }
    finishDraining()
  }

  private func startDraining() {
    guard case .running = phase else { return }
    phase = .draining
    state.value.isRunning = false
    stopEverything(endReason)
  }

  func stopEverything(_ reason: StopReason) {
    for operation in operations.allInUse {
      // Events wait for sockets to close, and this stop is what closes them.
      if case .event = operation.request { continue }
      stop(operation, reason)
    }
  }

  /// Closes the driver once the last operation has had its final completion and nothing of ours is
  /// left in the kernel.
  private func finishDraining() {
    guard case .draining = phase, state.value.inKernel == 0 else { return }
    phase = .closed
    retireDriver().close()
    driver = ShutDownDriver(wakeNumber: inbox.wakeDescriptor.number)
    for closer in closers { signal(closer) }
    closers = []
  }

  /// Ends all operations after the driver has failed: it can neither submit nor wait.
  func endWithoutKernel(_ errno: Errno) {
    // Results that have arrived are kept. (Completions that did not fit into the completion queue
    // are lost.)
    reapCompletions()
    failure = errno
    retireDriver().closeAfterFailure()
    driver = ShutDownDriver(
      wakeNumber: inbox.wakeDescriptor.number,
      orphans: operations.allInUse.filter(\.isInKernel).map(\.id))
    startDraining()
  }

  /// The reason for which operations end with the loop.
  var endReason: StopReason { failure == nil ? .loopShutdown : .loopFailed }

  /// The error of an operation that is started after the loop has ended.
  func endError(_ operation: SocketError.Operation) -> SocketError {
    failure.map { SocketError(.loopFailed, operation, errno: $0) }
      ?? SocketError(.loopShutDown, operation)
  }

  /// Returns the driver to be closed. Its counters are kept; its buffers are no longer used.
  func retireDriver() -> any Driver {
    statistics.add(driver.counters)
    receiveBuffers = nil
    return driver
  }
}

/// The driver of a loop that was shut down or whose driver has failed. No operation is started on
/// it; it only waits for jobs.
final class ShutDownDriver: Driver {
  private let wakeNumber: Int32
  let counters = DriverCounters()
  let receiveBuffers: ReceiveBuffers? = nil

  /// Operations that the previous driver has left unfinished.
  private var orphans: [OperationID]

  init(wakeNumber: Int32, orphans: [OperationID] = []) {
    self.wakeNumber = wakeNumber
    self.orphans = orphans
  }

  func start(_ operation: Operation) {
    preconditionFailure("An operation was started on a closed loop")
  }
  /// Does nothing, because the operation is an orphan that ends anyway.
  func cancel(_ operation: Operation) { assert(orphans.contains(operation.id)) }

  func turn(_ wait: Wait) -> Errno? {
    switch wait {
    case .none: break
    case .indefinitely: cms_eventfd_wait(wakeNumber, -1)
    case .nanoseconds(let time): cms_eventfd_wait(wakeNumber, Int32(clamping: time / 1_000_000 + 1))
    }
    return nil
  }

  /// Ends orphans as if they had been cancelled.
  func reap(into completions: UnsafeMutableBufferPointer<cms_completion>) -> Int {
    let count = min(orphans.count, completions.count)
    for index in 0..<count {
      // SAFETY: `count` is at most the number of completions that fit.
      unsafe completions[index] = cms_completion(
        user_data: orphans.removeLast().userData, result: -Errno.canceled.rawValue, flags: 0)
    }
    return count
  }

  func close() {}
}
