// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

// How a task waits for an operation that it has started. On the loop's thread, in the caller's
// isolation, which it does not leave. The caller holds the operation's loop, by its channel or
// otherwise.

extension Operation {
  /// Waits until the operation has ended. If the task is cancelled meanwhile the operation is
  /// stopped, and awaited all the same: nothing of it is left in the kernel when this returns.
  @inline(__always)
  nonisolated(nonsending) func ended() async -> CompletedOperation {
    if mayWait {
      if expectsToEndInThisTurn { await waitForTurn() } else { await wait() }
    }
    return CompletedOperation(self)
  }

  /// Whether it is a receive on a socket whose last messages each came in the turn in which they
  /// were asked for.
  private var expectsToEndInThisTurn: Bool {
    switch request {
    case .receive, .waitForMessage: withSocket { $0.sameTurn.isLikely } ?? false
    default: false
    }
  }

  /// Waits with a cancellation handler, however long.
  @inline(__always)
  nonisolated(nonsending) func wait() async {
    willPark()
    // SAFETY: removed below, before the slot is recycled; nothing in between registers another
    // handler.
    let registration = unsafe addCancellationHandler()
    let hasEnded = await parking.hasEnded()
    unsafe cms_task_remove_cancellation_handler(registration)
    precondition(hasEnded)
  }

  /// Whether it is to be waited for. A message that was received ahead has ended already; a request
  /// that probably need not wait may be submitted for itself, and end at once.
  private var mayWait: Bool {
    if life.state == .done { return false }
    return expectsToWait || !withCore { $0.finishesAtOnce(self) }
  }

  /// Whether it is a receive that probably comes before its message, or something else that takes
  /// its time.
  private var expectsToWait: Bool {
    guard case .receive = request else { return true }
    return withSocket { $0.isKnownEmpty } ?? true
  }

  /// The same for an operation that hardly ever waits, as a send: without a cancellation handler
  /// for as long as the enter that submits it, and with one only if it is not done then.
  @inline(__always)
  nonisolated(nonsending) func endedSoon() async -> CompletedOperation {
    if !withCore({ $0.finishesAtOnce(self) }) { await waitForTurn() }
    return CompletedOperation(self)
  }

  @inline(__always)
  private nonisolated(nonsending) func waitForTurn() async {
    willPark()
    withCore { $0.resumeAfterTurn(self) }
    if await !parking.hasEnded() { await waitLong() }
  }

  private nonisolated(nonsending) func waitLong() async {
    // A task that came to the loop's thread without preferring it (`Task.immediate`, a default
    // actor) has gone back to its own executor by now.
    if core.isCurrent { return await wait() }
    await LoopActor(core: core).wait(for: self)
  }

  /// Waits for an operation that cannot be stopped.
  nonisolated(nonsending) func endedIgnoringCancellation() async -> CompletedOperation {
    willPark()
    let hasEnded = await parking.hasEnded()
    precondition(hasEnded)
    return CompletedOperation(self)
  }

  private func willPark() { withCore { willPark(returningTo: $0.returnState()) } }
}

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

/// The task that awaits an operation, as the operation's slot keeps it: whoever comes first, the
/// task or the outcome, waits for the other.
struct ParkedTask: Sendable {
  private enum State {
    /// No task waits, or not yet.
    case none
    /// Waiting for the outcome.
    case waiting(UnownedJob)
    /// The outcome came before the task.
    case outcomeFirst
  }

  private var state = State.none
  /// The executor state in which the task will go on; noted just before it parks.
  var returnState = ExecutorState.serial

  init() {}

  /// The task has been suspended. Returns it if it may go on at once.
  mutating func park(_ job: UnownedJob) -> ReadyJob? {
    switch state {
    case .none:
      state = .waiting(job)
      return nil
    case .outcomeFirst: return ReadyJob(job: job, state: returnState)
    case .waiting: preconditionFailure("Two tasks await one operation")
    }
  }

  /// The operation is done. Returns the task that may go on.
  mutating func resume() -> ReadyJob? {
    switch state {
    case .none:
      state = .outcomeFirst
      return nil
    case .waiting(let job): return ReadyJob(job: job, state: returnState)
    case .outcomeFirst: preconditionFailure("An operation was finished twice")
    }
  }

  /// The turn is over and the operation is not done: a task that parked for the turn only may look
  /// at that, and park again.
  mutating func resumeForTurn() -> ReadyJob? {
    guard case .waiting(let job) = state else { return nil }
    state = .none
    return ReadyJob(job: job, state: returnState)
  }
}

/// An operation that has ended. Its outcome is the holder's alone, on whichever thread; with this
/// value ends what is left of the outcome, and the slot is free again.
///
/// So small that tasks can keep it while they wait: what the kernel delivered stays in the slot
/// until it is taken.
package struct CompletedOperation: ~Copyable {
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
    var result = operation.outcome.result
    result.stopReason = operation.life.stopReason
    // The slot's next use begins with an outcome as new.
    operation.outcome.result = OperationResult()
    operation.recycleFromAnywhere()
    discard self
    return result
  }

  /// Whether it is a received message, and not the end or an error.
  var isMessage: Bool { operation.isMessage }

  /// Whether it was stopped because its socket drains, before anything came.
  var wasEndedByDraining: Bool {
    operation.life.stopReason == .draining && operation.outcome.errno == .canceled
  }

  /// What to throw, if the operation failed or its message is not admitted.
  func failure(_ name: SocketError.Operation, address: AnySocketAddress? = nil) -> (any Error)? {
    operation.outcome.failure(name, address: address, stopReason: operation.life.stopReason)
  }

  /// Puts a message that was received elsewhere into `memory`.
  // SAFETY: the caller keeps `memory`, which nothing else uses meanwhile.
  @unsafe
  func settleMessage(in memory: UnsafeMutableRawBufferPointer) {
    let payload = operation.outcome.payload
    if payload.isEmpty { return }
    let taken = operation.outcome.takenCount
    assert(payload.count - taken <= memory.count, "A message was not cut to the caller's memory")
    unsafe memory.copyBytes(from: payload[taken...].prefix(memory.count))
  }
}

/// Whether the next receive of a socket probably comes before its message, where the kernel does
/// not say that there is more: on sequential packets and datagrams, and on streams before Linux
/// 6.17.
struct WaitPredictor {
  private var hasWaited = false
  private var hasSent = false

  /// The last receive has waited for more than a turn, or something was sent since, to which the
  /// message is the answer.
  var isLikely: Bool { hasWaited || hasSent }

  mutating func noteSend() { hasSent = true }

  mutating func noteReceive(inTurn: Bool) {
    hasWaited = !inTurn
    hasSent = false
  }
}

/// Whether the last messages of a socket came in the very turn of the loop in which they were asked
/// for, as where both ends are on one busy loop. Then a task waits for that turn without saying
/// what its cancellation is to do; should the message not come, it says so then
/// (Docs/Decisions/0006).
struct SameTurnPredictor {
  private var inARow: UInt8 = 0

  /// One that came later costs a wait more, so that once is not enough.
  var isLikely: Bool { inARow >= 2 }

  mutating func note(_ cameInTurn: Bool) { inARow = cameInTurn ? min(inARow + 1, 2) : 0 }
}
