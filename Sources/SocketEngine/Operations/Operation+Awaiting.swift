internal import CMessageSockets

// How a task waits for an operation that it has started. On the loop's thread, in the caller's isolation, which it does not leave. The caller holds
// the operation's loop, by its channel or otherwise.

extension Operation {
  /// Waits until the operation has ended. If the task is cancelled meanwhile the operation is stopped, and awaited all the same: nothing of it is left in
  /// the kernel when this returns.
  @inline(__always)
  nonisolated(nonsending) func finalOutcome() async -> OperationOutcome {
    willPark()
    // SAFETY: removed below, before the slot is recycled; nothing in between registers another handler.
    let registration = unsafe addCancellationHandler()
    let outcome = await parking.outcome()
    unsafe cms_task_remove_cancellation_handler(registration)
    recycleFromAnywhere()
    return outcome
  }

  /// The same for an operation that hardly ever waits, as a send: without a cancellation handler for as long as the enter that submits it, and with
  /// one only if it is not done then.
  @inline(__always)
  nonisolated(nonsending) func resultSoon() async -> OperationResult {
    willPark()
    withCore { $0.resumeAfterTurn(self) }
    if let result = await parking.resultOfTurn() {
      recycleFromAnywhere()
      return result
    }
    return await resultOfLongWait()
  }

  private nonisolated(nonsending) func resultOfLongWait() async -> OperationResult {
    // A task that came to the loop's thread without preferring it (`Task.immediate`, a default actor) has gone back to its own executor by now.
    if core.isCurrent { return await finalOutcome().result }
    return await LoopVisitor(core: core).outcome(of: self).result
  }

  /// Waits for an operation that cannot be stopped.
  nonisolated(nonsending) func outcomeIgnoringCancellation() async -> OperationOutcome {
    willPark()
    let outcome = await parking.outcome()
    recycleFromAnywhere()
    return outcome
  }

  private func willPark() { withCore { willPark(returningTo: $0.returnState()) } }

  /// Frees the slot of an operation whose outcome was taken. A task that came to the loop's thread without preferring it (`Task.immediate`) goes on elsewhere
  /// after its wait.
  private func recycleFromAnywhere() {
    withCore { core in
      if core.isCurrent {
        recycle(on: core)
      } else {
        core.inbox.send(.recycle(self))
      }
    }
  }
}
