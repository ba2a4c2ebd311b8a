// SPDX-License-Identifier: Apache-2.0
/// Where a task waits for its operation: a *parking executor*.
///
/// `await operation.parking.hasEnded()` makes the runtime suspend the task and hand it, as a job,
/// to the executor of this actor, which is the actor itself: ``enqueue(_:)`` keeps the job until
/// the final completion, and the loop then runs it, in the executor state to which the task will
/// return. The runtime finds nothing to switch, so that an await costs no queue and no thread hop;
/// a continuation would cost one to three (Docs/Decisions/0001).
///
/// The method itself always runs on the loop's thread, whoever waits, and is never inlined: the hop
/// to this actor's executor is the wait. The outcome of an operation that has ended is its task's
/// alone, which takes it from the slot, on whichever thread it goes on, and recycles the slot.
actor ParkingSpot: SerialExecutor {
  /// The operation that owns this object, in the table of a loop that the awaiting task holds
  /// through its channel.
  private nonisolated let operation: Operation

  init(operation: Operation) { self.operation = operation }

  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe asUnownedSerialExecutor() }

  nonisolated func enqueue(_ job: consuming ExecutorJob) { operation.park(UnownedJob(job)) }

  /// Whether the operation has ended. It has, unless its task was to go on at the end of the turn
  /// in any case.
  @inline(never)
  func hasEnded() -> Bool { operation.life.state == .done }
}
