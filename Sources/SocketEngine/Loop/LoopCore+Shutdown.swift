// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

extension LoopCore {
  /// Asks for the end: everything is cancelled, the driver closed, and the loop goes on as an
  /// executor only. What to wait for until that is done; nil if it is.
  func startShutdown() -> Operation? {
    if case .closed = phase { return nil }
    let ended = makeEvent()
    closers.append(ended.id)
    return ended
  }

  /// Between the jobs and the kernel, so that what jobs have started is the kernel's before a task
  /// can tell that the loop ends: a socket that it then drops is no reason for its peer's send to
  /// fail. (But for requests that a ring had no entries for, which come later.)
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
      // What waits for a socket to close goes on waiting for that: it is this very stop that brings
      // it about.
      if case .event = operation.request { continue }
      stop(operation, reason)
    }
  }

  /// The last operation has had its final completion: nothing of ours is left in the kernel.
  private func finishDraining() {
    guard case .draining = phase, state.value.inKernel == 0 else { return }
    phase = .closed
    retireDriver().close()
    driver = ShutDownDriver(wakeNumber: inbox.wakeDescriptor.number)
    for closer in closers { signal(closer) }
    closers = []
  }

  /// Nothing can be submitted any more, nor waited for: everything ends.
  func endWithoutKernel(_ errno: Errno) {
    // What has completed stands. (What had found no room in the completion queue cannot be had any
    // more.)
    reapCompletions()
    failure = errno
    retireDriver().closeAfterFailure()
    driver = ShutDownDriver(
      wakeNumber: inbox.wakeDescriptor.number,
      orphans: operations.allInUse.filter(\.isInKernel).map(\.id))
    startDraining()
  }

  /// Why operations end with the loop.
  var endReason: StopReason { failure == nil ? .loopShutdown : .loopFailed }

  /// Why no operation can be started any more.
  func endError(_ operation: SocketError.Operation) -> SocketError {
    failure.map { SocketError(.loopFailed, operation, errno: $0) }
      ?? SocketError(.loopShutDown, operation)
  }

  /// The driver, which is to be closed: what it has counted is kept, and its buffers are not used
  /// any more.
  func retireDriver() -> any Driver {
    statistics.add(driver.counters)
    receiveBuffers = nil
    return driver
  }
}

/// The driver of a loop that was shut down, or whose driver has failed: no operation is started on
/// it any more, it only waits for jobs.
final class ShutDownDriver: Driver {
  private let wakeNumber: Int32
  let counters = DriverCounters()
  let receiveBuffers: ReceiveBuffers? = nil

  /// What the driver before has left unfinished.
  private var orphans: [OperationID]

  init(wakeNumber: Int32, orphans: [OperationID] = []) {
    self.wakeNumber = wakeNumber
    self.orphans = orphans
  }

  func start(_ operation: Operation) {
    preconditionFailure("An operation was started on a closed loop")
  }
  /// Its end is on its way.
  func cancel(_ operation: Operation) { assert(orphans.contains(operation.id)) }

  func turn(_ wait: Wait) -> Errno? {
    switch wait {
    case .none: break
    case .indefinitely: cms_eventfd_wait(wakeNumber, -1)
    case .nanoseconds(let time): cms_eventfd_wait(wakeNumber, Int32(clamping: time / 1_000_000 + 1))
    }
    return nil
  }

  /// Orphans end as if they had been cancelled.
  func reap(into completions: UnsafeMutableBufferPointer<cms_completion>) -> Int {
    let count = min(orphans.count, completions.count)
    for index in 0..<count {
      // SAFETY: `count` is no more than there is room for.
      unsafe completions[index] = cms_completion(
        user_data: orphans.removeLast().userData, result: -Errno.canceled.rawValue, flags: 0)
    }
    return count
  }

  func close() {}
}
