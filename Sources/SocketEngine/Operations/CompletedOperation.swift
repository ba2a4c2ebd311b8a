// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import SystemPackage

/// An operation that has ended. Its outcome is the holder's alone, on whichever thread; with this
/// value ends what is left of the outcome, and the slot is free again.
///
/// So small that tasks can keep it while they wait: what the kernel delivered stays in the slot
/// until it is taken.
package struct CompletedOperation: ~Copyable {
  private let operation: Operation

  init(_ operation: Operation) { self.operation = operation }

  deinit {
    operation.outcome = OperationOutcome()
    operation.recycleFromAnywhere()
  }

  /// Moves the outcome out.
  package consuming func takeOutcome() -> OperationOutcome {
    let outcome = operation.takeOutcome()
    operation.recycleFromAnywhere()
    discard self
    return outcome
  }

  /// The same for an operation that has nothing to deliver but its result.
  consuming func takeResult() -> OperationResult {
    var result = operation.outcome.result
    result.stopReason = operation.life.stopReason
    // The slot's next use begins with an outcome as new.
    operation.outcome.result = OperationResult()
    operation.recycleFromAnywhere()
    discard self
    return result
  }

  /// Whether it is a received message, and not the end or an error.
  var isMessage: Bool { operation.isMessage }

  /// Whether it was stopped because its socket drains, before anything came.
  var wasEndedByDraining: Bool {
    operation.life.stopReason == .draining && operation.outcome.errno == .canceled
  }

  /// What to throw, if the operation failed or its message is not admitted.
  func failure(_ name: SocketError.Operation, address: AnySocketAddress? = nil) -> (any Error)? {
    operation.outcome.failure(name, address: address, stopReason: operation.life.stopReason)
  }

  /// Puts a message that was received elsewhere into `memory`.
  // SAFETY: the caller keeps `memory`, which nothing else uses meanwhile.
  @unsafe
  func settleMessage(in memory: UnsafeMutableRawBufferPointer) {
    let payload = operation.outcome.payload
    if payload.isEmpty { return }
    let taken = operation.outcome.takenCount
    assert(payload.count - taken <= memory.count, "A message was not cut to the caller's memory")
    unsafe memory.copyBytes(from: payload[taken...].prefix(memory.count))
  }
}
