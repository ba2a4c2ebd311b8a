// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// The driver of a loop that was shut down, or whose driver has failed: no operation is started on
/// it any more, it only waits for jobs.
final class ClosedDriver: Driver {
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
      unsafe completions[index] = cms_completion(
        user_data: orphans.removeLast().userData, result: -Errno.canceled.rawValue, flags: 0)
    }
    return count
  }

  func close() {}
}
