/// Where a task waits for its operation: a *parking executor*.
///
/// `await spot.awaiter.outcome()` makes the runtime suspend the task and hand it, as a job, to the executor of that actor, which is this
/// object: ``enqueue(_:)`` keeps the job until the final completion, and the loop then runs it, in the executor state to which the task will
/// return. The runtime finds nothing to switch, so that an await costs no queue and no thread hop; a continuation would cost one to three
/// (Docs/Decisions/0001).
///
/// Loop-confined, hence `@unchecked Sendable`.
final class ParkingSpot: SerialExecutor, @unchecked Sendable {
  private enum Job {
    /// No task waits, or not yet.
    case none
    /// Waiting for the outcome.
    case waiting(UnownedJob)
    /// The outcome came before the task.
    case outcomeFirst
  }

  /// SAFETY: the core owns the table that owns this object.
  unowned(unsafe) let core: LoopCore
  private(set) var operation: Operation!
  private(set) var awaiter: Awaiter!
  private var job = Job.none
  /// The executor state in which the task will go on; noted just before it parks.
  var returnState = ExecutorState.serial

  init(core: LoopCore) { unsafe self.core = core }

  func attach(_ operation: Operation) {
    self.operation = operation
    awaiter = Awaiter(spot: self)
  }

  func reset() { job = .none }

  func enqueue(_ job: consuming ExecutorJob) {
    let core = unsafe core
    precondition(core.isCurrent, "A task was parked from another thread than the loop's")
    let parked = UnownedJob(job)
    switch self.job {
    case .none: self.job = .waiting(parked)
    case .outcomeFirst: core.makeReady(ReadyJob(job: parked, state: returnState))
    case .waiting: preconditionFailure("Two tasks await one operation")
    }
  }

  /// The turn is over and the operation is not done: lets a task that parked for the turn only look at that.
  func resumeForTurn(on core: LoopCore) {
    guard case .waiting(let waiting) = job else { return }
    job = .none
    core.makeReady(ReadyJob(job: waiting, state: returnState))
  }

  /// The operation is done: lets its task go on, as a job of the loop, never from here.
  func resumeTask(on core: LoopCore) {
    switch job {
    case .none: job = .outcomeFirst
    case .waiting(let job): core.makeReady(ReadyJob(job: job, state: returnState))
    case .outcomeFirst: preconditionFailure("An operation was finished twice")
    }
  }
}

/// The actor whose method is the wait. The method itself always runs on the loop's thread, whoever waits: it is where the outcome leaves the slot. The
/// waiting task recycles the slot afterwards.
actor Awaiter {
  /// SAFETY: the spot owns this object, and is kept by the table of a loop that the awaiting task holds through its channel.
  private unowned(unsafe) let spot: ParkingSpot

  init(spot: ParkingSpot) { unsafe self.spot = spot }

  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe spot.asUnownedSerialExecutor() }

  // Never inlined: the hop to this actor's executor is the wait itself.
  @inline(never)
  func outcome() -> OperationOutcome { unsafe spot.operation.takeOutcome() }

  /// The same, or nil if the operation is still under way at the end of the turn.
  @inline(never)
  func outcomeOfTurn() -> OperationOutcome? {
    let operation = unsafe spot.operation!
    return operation.life.state == .done ? operation.takeOutcome() : nil
  }
}
