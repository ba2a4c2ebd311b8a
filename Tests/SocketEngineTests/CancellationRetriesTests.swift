// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SocketEngine

/// When the kernel is asked again to cancel an operation that it did not find.
@Suite struct CancellationRetriesTests {
  private let first = OperationID(index: 1, generation: 1)
  private let second = OperationID(index: 2, generation: 1)

  /// Waits until it is time to cancel again; returns the operations to cancel.
  private func waitForDue(_ retries: inout CancellationRetries) -> Set<OperationID> {
    let limit = ContinuousClock.now + .seconds(10)
    while ContinuousClock.now < limit {
      let due = retries.takeDue()
      if !due.isEmpty { return due }
    }
    return []
  }

  @Test func whatTheKernelDidNotFindIsCancelledAgainUntilItHasEnded() {
    var retries = CancellationRetries()
    retries.asked(for: first)
    retries.asked(for: second)
    retries.missed()
    retries.ended(second)
    for _ in 0..<3 {
      #expect(retries.takeDue().isEmpty, "immediately")
      #expect(retries.due != nil, "the loop does not sleep beyond it")
      #expect(waitForDue(&retries) == [first])
      #expect(retries.due == nil)
      retries.missed()
    }
    retries.ended(first)
    #expect(retries.due == nil)
    #expect(retries.takeDue().isEmpty)
  }

  @Test func whatTheKernelHasFoundIsNotCancelledAgain() {
    var retries = CancellationRetries()
    retries.asked(for: first)
    #expect(retries.takeDue().isEmpty)
    #expect(retries.due == nil)
    #expect(retries.pending == [first])
  }
}
