internal import CMessageSockets

// How a task waits for an operation that it has started. On the loop's thread, in the caller's isolation, which it does not leave. The caller holds
// the operation's loop, by its channel or otherwise.

extension Operation {
  /// Waits until the operation has ended. If the task is cancelled meanwhile the operation is stopped, and awaited all the same: nothing of it is left in
  /// the kernel when this returns.
  @inline(__always)
  nonisolated(nonsending) func finalOutcome() async -> OperationOutcome {
    if expectsToWait || !withCore({ $0.finishesAtOnce(self) }) {
      willPark()
      // SAFETY: removed below, before the slot is recycled; nothing in between registers another handler.
      let registration = unsafe addCancellationHandler()
      let hasEnded = await parking.hasEnded()
      unsafe cms_task_remove_cancellation_handler(registration)
      precondition(hasEnded)
    }
    let outcome = takeOutcome()
    recycleFromAnywhere()
    return outcome
  }

  /// Whether it is a receive that probably comes before its message, or something else that takes its time.
  private var expectsToWait: Bool {
    guard case .receive = request else { return true }
    return withSocket { $0.wasEmptied } ?? true
  }

  /// The same for an operation that hardly ever waits, as a send: without a cancellation handler for as long as the enter that submits it, and with
  /// one only if it is not done then.
  @inline(__always)
  nonisolated(nonsending) func resultSoon() async -> OperationResult {
    if !withCore({ $0.finishesAtOnce(self) }) {
      willPark()
      withCore { $0.resumeAfterTurn(self) }
      if await !parking.hasEnded() { return await resultOfLongWait() }
    }
    let result = takeResult()
    recycleFromAnywhere()
    return result
  }

  private nonisolated(nonsending) func resultOfLongWait() async -> OperationResult {
    // A task that came to the loop's thread without preferring it (`Task.immediate`, a default actor) has gone back to its own executor by now.
    if core.isCurrent { return await finalOutcome().result }
    return await LoopVisitor(core: core).outcome(of: self).result
  }

  /// Waits for an operation that cannot be stopped.
  nonisolated(nonsending) func outcomeIgnoringCancellation() async -> OperationOutcome {
    willPark()
    let hasEnded = await parking.hasEnded()
    precondition(hasEnded)
    let outcome = takeOutcome()
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
