internal import CMessageSockets

/// The driver of a loop that was shut down: no operation ever reaches it, it only waits for jobs.
final class ClosedDriver: Driver {
  private let wakeNumber: Int32
  let counters = DriverCounters()
  let receiveBuffers: ReceiveBuffers? = nil

  init(wakeNumber: Int32) { self.wakeNumber = wakeNumber }

  func start(_ operation: Operation) { preconditionFailure("An operation was started on a closed loop") }
  func cancel(_ operation: Operation) { preconditionFailure("A closed loop has no operation to cancel") }

  func turn(_ wait: Wait) {
    switch wait {
    case .none: break
    case .indefinitely: cms_eventfd_wait(wakeNumber, -1)
    case .nanoseconds(let time): cms_eventfd_wait(wakeNumber, Int32(clamping: time / 1_000_000 + 1))
    }
  }

  func reap(into completions: UnsafeMutableBufferPointer<cms_completion>) -> Int { 0 }
  func close() {}
}
