/// Where a task waits for its operation: a *parking executor*.
///
/// `await operation.parking.outcome()` makes the runtime suspend the task and hand it, as a job, to the executor of this actor, which is the actor itself:
/// ``enqueue(_:)`` keeps the job until the final completion, and the loop then runs it, in the executor state to which the task will
/// return. The runtime finds nothing to switch, so that an await costs no queue and no thread hop; a continuation would cost one to three
/// (Docs/Decisions/0001).
///
/// The methods themselves always run on the loop's thread, whoever waits: they are where the outcome leaves the slot. The waiting task recycles the slot
/// afterwards. They are never inlined: the hop to this actor's executor is the wait.
actor ParkingSpot: SerialExecutor {
  /// The operation that owns this object, in the table of a loop that the awaiting task holds through its channel.
  private nonisolated let operation: Operation

  init(operation: Operation) { self.operation = operation }

  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe asUnownedSerialExecutor() }

  nonisolated func enqueue(_ job: consuming ExecutorJob) { operation.park(UnownedJob(job)) }

  @inline(never)
  func outcome() -> OperationOutcome { operation.takeOutcome() }

  /// For an operation that delivers nothing but a result: a send.
  ///
  /// Nil if the operation is still under way at the end of the turn.
  @inline(never)
  func resultOfTurn() -> OperationResult? { operation.life.state == .done ? operation.takeResult() : nil }
}
