// SPDX-License-Identifier: Apache-2.0
internal import Ancillary

/// An operation that has ended. Its outcome is the holder's alone, on whichever thread; with this
/// value ends what is left of the outcome, and the slot is free again.
///
/// So small that tasks can keep it while they wait: what the kernel delivered stays in the slot
/// until it is taken.
package struct EndedOperation: ~Copyable {
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
    let result = operation.takeResult()
    operation.recycleFromAnywhere()
    discard self
    return result
  }

  /// Whether it is a received message, and not the end or an error.
  var isMessage: Bool { operation.isMessage }

  /// What to throw, if the operation failed or its message is not admitted.
  func failure(_ name: SocketError.Operation, address: AnySocketAddress? = nil) -> (any Error)? {
    operation.failure(name, address: address)
  }

  /// Puts a message that was received elsewhere into `memory`, if there is some, and counts its
  /// bytes.
  @unsafe
  func settleMessage(in memory: UnsafeMutableRawBufferPointer?, flags: Int32) {
    unsafe operation.settleMessage(in: memory, flags: flags)
  }
}
