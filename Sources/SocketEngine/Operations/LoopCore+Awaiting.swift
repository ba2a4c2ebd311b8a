// How a task waits for an operation that it has started. On the loop's thread, in the caller's isolation, which it does not leave.

extension LoopCore {
  /// Waits for an operation. If the task is cancelled meanwhile the operation is stopped, and awaited all the same: nothing of it is left in
  /// the kernel when this returns.
  func outcome(of operation: Operation, isolation: isolated (any Actor)? = #isolation) async -> OperationOutcome {
    let awaiter = willPark(operation, for: .outcome)
    let id = operation.id
    var outcome: OperationOutcome?
    await withTaskCancellationHandler {
      // Without this use of `isolation` the closure would leave the caller's executor (Swift 6.3).
      _ = isolation
      outcome = await awaiter.outcome()
    } onCancel: {
      stopFromAnywhere(id, .taskCancelled)
    }
    return outcome.take()!
  }

  /// The same for an operation that hardly ever waits, as a send: without a cancellation handler for as long as the enter that submits it, and with
  /// one only if it is not done then. The handler costs as much as the rest of the wait.
  nonisolated(nonsending) func outcomeSoon(of operation: Operation) async -> OperationOutcome {
    let awaiter = willPark(operation, for: .turn)
    if let outcome = await awaiter.outcomeOfTurn() { return outcome }
    return await outcome(of: operation)
  }

  /// Waits for an operation that cannot be stopped.
  nonisolated(nonsending) func outcomeIgnoringCancellation(of operation: Operation) async -> OperationOutcome {
    await willPark(operation, for: .outcome).outcome()
  }

  private func willPark(_ operation: Operation, for wait: ParkingSpot.Wait) -> Awaiter {
    let spot = operation.parking
    spot.returnState = returnState()
    if wait == .turn { resumeAfterTurn(operation) }
    return spot.awaiter
  }
}
