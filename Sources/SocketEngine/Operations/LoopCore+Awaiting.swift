internal import CMessageSockets

// How a task waits for an operation that it has started. On the loop's thread, in the caller's isolation, which it does not leave.

extension LoopCore {
  /// Waits for an operation. If the task is cancelled meanwhile the operation is stopped, and awaited all the same: nothing of it is left in
  /// the kernel when this returns.
  @inline(__always)
  nonisolated(nonsending) func outcome(of operation: Operation) async -> OperationOutcome {
    willPark(operation)
    // SAFETY: removed below, before the slot is recycled; nothing in between registers another handler.
    let registration = unsafe operation.addCancellationHandler()
    let outcome = await operation.parking.outcome()
    unsafe cms_task_remove_cancellation_handler(registration)
    recycleFromAnywhere(operation)
    return outcome
  }

  /// The same for an operation that hardly ever waits, as a send: without a cancellation handler for as long as the enter that submits it, and with
  /// one only if it is not done then.
  @inline(__always)
  nonisolated(nonsending) func resultSoon(of operation: Operation) async -> OperationResult {
    willPark(operation)
    resumeAfterTurn(operation)
    if let result = await operation.parking.resultOfTurn() {
      recycleFromAnywhere(operation)
      return result
    }
    return await resultOfLongWait(of: operation)
  }

  private nonisolated(nonsending) func resultOfLongWait(of operation: Operation) async -> OperationResult {
    // A task that came to the loop's thread without preferring it (`Task.immediate`, a default actor) has gone back to its own executor by now.
    if isCurrent { return await outcome(of: operation).result }
    return await LoopVisitor(core: self).outcome(of: operation).result
  }

  /// Waits for an operation that cannot be stopped.
  nonisolated(nonsending) func outcomeIgnoringCancellation(of operation: Operation) async -> OperationOutcome {
    willPark(operation)
    let outcome = await operation.parking.outcome()
    recycleFromAnywhere(operation)
    return outcome
  }

  private func willPark(_ operation: Operation) { operation.willPark(returningTo: returnState()) }

  /// Frees the slot of an operation whose outcome was taken. A task that came to the loop's thread without preferring it (`Task.immediate`) goes on elsewhere
  /// after its wait.
  private func recycleFromAnywhere(_ operation: Operation) {
    if isCurrent {
      operation.recycle(on: self)
    } else {
      inbox.send(.recycle(operation))
    }
  }
}
