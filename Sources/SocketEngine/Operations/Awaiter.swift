/// Where a task waits for its operation: a *parking executor*.
///
/// `await awaiter.outcome()` makes the runtime suspend the task and hand it, as a job, to the executor of this actor. That executor is
/// the operation's slot itself: `Operation.enqueue` keeps the job until the final completion, and the loop then runs it, in the
/// executor state to which the task will return. The runtime finds nothing to switch, so that an await costs no queue and no
/// thread hop; a continuation would cost one to three (Docs/Decisions/0001).
///
/// `outcome()` always runs on the loop's thread, whoever waits: it is where the outcome leaves the slot.
package actor Awaiter {
  private unowned let operation: Operation

  init(operation: Operation) { self.operation = operation }

  package nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe operation.asUnownedSerialExecutor() }

  // Never inlined: the hop to this actor's executor is the wait itself.
  @inline(never)
  package func outcome() -> OperationOutcome { operation.takeOutcome() }
}

/// The task of an operation, as the runtime handed it over.
enum ParkedTask {
  /// Not waiting yet, or not any more.
  case absent
  /// Waiting for the outcome.
  case waiting(UnownedJob)
  /// The outcome came before the task.
  case outcomeFirst
}

extension Operation: SerialExecutor {
  package func enqueue(_ job: consuming ExecutorJob) {
    precondition(core.isCurrent, "A task was parked from another thread than the loop's")
    let job = UnownedJob(job)
    switch parked {
    case .absent: parked = .waiting(job)
    case .outcomeFirst: core.ready.append(ReadyJob(job: job, state: returnState))
    case .waiting: preconditionFailure("Two tasks await one operation")
    }
  }

  /// The operation is done: lets its task go on, as a job of the loop, never from here.
  func resumeTask() {
    switch parked {
    case .absent: parked = .outcomeFirst
    case .waiting(let job): core.ready.append(ReadyJob(job: job, state: returnState))
    case .outcomeFirst: preconditionFailure("An operation was finished twice")
    }
  }
}
