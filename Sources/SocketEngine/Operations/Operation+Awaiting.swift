// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

// How a task waits for an operation that it has started. The functions run on the loop's thread, in
// the caller's isolation, which they do not leave. The caller holds the operation's loop, for
// example through its channel.

extension Operation {
  /// Waits until the operation has ended. If the task is cancelled, the operation is stopped but
  /// still awaited: when this returns, the kernel holds nothing that belongs to it.
  @inline(__always)
  nonisolated(nonsending) func ended() async -> CompletedOperation {
    if mayWait {
      if expectsToEndInThisTurn { await waitForTurn() } else { await wait() }
    }
    return CompletedOperation(self)
  }

  /// Whether this is a receive on a socket whose last messages each came in the turn of their
  /// request.
  private var expectsToEndInThisTurn: Bool {
    switch request {
    case .receive, .waitForMessage: withSocket { $0.sameTurn.isLikely } ?? false
    default: false
    }
  }

  /// Waits with a cancellation handler until the operation has ended.
  @inline(__always)
  nonisolated(nonsending) func wait() async {
    willPark()
    // SAFETY: removed below, before the slot is recycled; no other handler is registered in
    // between.
    let registration = unsafe addCancellationHandler()
    let hasEnded = await parking.hasEnded()
    unsafe cms_task_remove_cancellation_handler(registration)
    precondition(hasEnded)
  }

  /// Whether the task must wait. An operation with a prefetched message has ended already. A
  /// request that probably need not wait may be submitted on its own and end immediately.
  private var mayWait: Bool {
    if life.state == .done { return false }
    return expectsToWait || !withCore { $0.finishesAtOnce(self) }
  }

  /// Whether the operation probably takes time: every operation except a receive for which a
  /// message may have arrived.
  private var expectsToWait: Bool {
    guard case .receive = request else { return true }
    return withSocket { $0.isKnownEmpty } ?? true
  }

  /// Waits for an operation that rarely takes long, such as a send: without a cancellation handler
  /// during the enter that submits it, and with one only if it has not ended then.
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
    // A task that reached the loop's thread without preferring the loop (`Task.immediate`, a
    // default actor) is back on its own executor here.
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
/// `await operation.parking.hasEnded()` makes the runtime suspend the task and enqueue it, as a
/// job, on the executor of this actor, which is the actor itself. ``enqueue(_:)`` keeps the job
/// until the final completion; the loop then runs it in the executor state to which the task will
/// return. The runtime sees no reason to switch, so the await costs no queue and no thread hop; a
/// continuation would cost one to three (Docs/Decisions/0001).
///
/// The method itself always runs on the loop's thread, whichever task waits, and is never inlined:
/// the hop to this actor's executor is the wait. The outcome of an ended operation belongs to its
/// task alone, which takes it from the slot on any thread and recycles the slot.
actor ParkingSpot: SerialExecutor {
  /// The operation that owns this object. It is in the table of a loop that the awaiting task holds
  /// through its channel.
  private nonisolated let operation: Operation

  init(operation: Operation) { self.operation = operation }

  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe asUnownedSerialExecutor() }

  nonisolated func enqueue(_ job: consuming ExecutorJob) { operation.park(UnownedJob(job)) }

  /// Whether the operation has ended. It has, unless its task continued because the turn was over.
  @inline(never)
  func hasEnded() -> Bool { operation.life.state == .done }
}

/// The task that awaits an operation, stored in the operation's slot. The task and the outcome come
/// in either order; the first one waits for the second.
struct ParkedTask: Sendable {
  private enum State {
    /// No task waits yet.
    case none
    /// A task waits for the outcome.
    case waiting(UnownedJob)
    /// The outcome came before the task.
    case outcomeFirst
  }

  private var state = State.none
  /// The executor state in which the task will continue; set just before it parks.
  var returnState = ExecutorState.serial

  init() {}

  /// Parks a suspended task. Returns the task if it may continue immediately.
  mutating func park(_ job: UnownedJob) -> ReadyJob? {
    switch state {
    case .none:
      state = .waiting(job)
      return nil
    case .outcomeFirst: return ReadyJob(job: job, state: returnState)
    case .waiting: preconditionFailure("Two tasks await one operation")
    }
  }

  /// Notes that the operation has ended. Returns the task that may continue.
  mutating func resume() -> ReadyJob? {
    switch state {
    case .none:
      state = .outcomeFirst
      return nil
    case .waiting(let job): return ReadyJob(job: job, state: returnState)
    case .outcomeFirst: preconditionFailure("An operation was finished twice")
    }
  }

  /// Returns a task that parked until the end of the turn although the operation has not ended; it
  /// checks that, and parks again.
  mutating func resumeForTurn() -> ReadyJob? {
    guard case .waiting(let job) = state else { return nil }
    state = .none
    return ReadyJob(job: job, state: returnState)
  }
}

/// An operation that has ended. The holder owns the outcome and may be on any thread. Dropping this
/// value discards what was not taken and frees the slot.
///
/// The value is small enough for tasks to keep while they wait: delivered data stays in the slot
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

  /// Takes the result of an operation that delivers nothing else.
  consuming func takeResult() -> OperationResult {
    var result = operation.outcome.result
    result.stopReason = operation.life.stopReason
    // The slot's next use begins with a new outcome.
    operation.outcome.result = OperationResult()
    operation.recycleFromAnywhere()
    discard self
    return result
  }

  /// Whether the outcome is a received message, not the end or an error.
  var isMessage: Bool { operation.isMessage }

  /// Whether the operation was stopped because its socket drains, before it received anything.
  var wasEndedByDraining: Bool {
    operation.life.stopReason == .draining && operation.outcome.errno == .canceled
  }

  /// The error to throw if the operation failed or the policy does not admit its message.
  func failure(_ name: SocketError.Operation, address: AnySocketAddress? = nil) -> (any Error)? {
    operation.outcome.failure(name, address: address, stopReason: operation.life.stopReason)
  }

  /// Copies a message that was received into other memory to `memory`.
  // SAFETY: the caller keeps `memory`, and nothing else uses it during the call.
  @unsafe
  func settleMessage(in memory: UnsafeMutableRawBufferPointer) {
    let payload = operation.outcome.payload
    if payload.isEmpty { return }
    let taken = operation.outcome.takenCount
    assert(payload.count - taken <= memory.count, "A message was not cut to the caller's memory")
    unsafe memory.copyBytes(from: payload[taken...].prefix(memory.count))
  }
}
