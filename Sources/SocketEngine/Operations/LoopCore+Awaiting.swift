internal import CMessageSockets

// How a task waits for an operation that it has started. On the loop's thread, in the caller's isolation, which it does not leave.

extension LoopCore {
  /// Waits for an operation. If the task is cancelled meanwhile the operation is stopped, and awaited all the same: nothing of it is left in
  /// the kernel when this returns.
  nonisolated(nonsending) func outcome(of operation: Operation) async -> OperationOutcome {
    let awaiter = willPark(operation)
    // SAFETY: removed below, before the slot is recycled; nothing in between registers another handler.
    let registration = unsafe operation.addCancellationHandler()
    let outcome = await awaiter.outcome()
    unsafe cms_task_remove_cancellation_handler(registration)
    recycleFromAnywhere(operation)
    return outcome
  }

  /// The same for an operation that hardly ever waits, as a send: without a cancellation handler for as long as the enter that submits it, and with
  /// one only if it is not done then.
  nonisolated(nonsending) func outcomeSoon(of operation: Operation) async -> OperationOutcome {
    let awaiter = willPark(operation)
    resumeAfterTurn(operation)
    if let outcome = await awaiter.outcomeOfTurn() {
      recycleFromAnywhere(operation)
      return outcome
    }
    // A task that came to the loop's thread without preferring it (`Task.immediate`, a default actor) has gone back to its own executor by now.
    if isCurrent { return await outcome(of: operation) }
    return await LoopVisitor(core: self).outcome(of: operation)
  }

  /// Waits for an operation that cannot be stopped.
  nonisolated(nonsending) func outcomeIgnoringCancellation(of operation: Operation) async -> OperationOutcome {
    let outcome = await willPark(operation).outcome()
    recycleFromAnywhere(operation)
    return outcome
  }

  private func willPark(_ operation: Operation) -> Awaiter {
    let spot = operation.parking
    spot.returnState = returnState()
    return spot.awaiter
  }

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
