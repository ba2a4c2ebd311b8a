// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// One slot of the loop's operation table, by reference.
///
/// A plain pointer, so that passing operations costs no reference counting and accessing one no
/// run-time exclusivity check: each was as expensive as the system call's own share
/// (Docs/Decisions/0002). It is safe because only the ``OperationTable``, which lives as long as
/// the loop's core, makes and frees slots, and because all use is on the loop's thread, except for
/// the outcome of an ended operation, which belongs to its waiting task alone. That also justifies
/// `@unchecked Sendable`.
@safe
struct Operation: @unchecked Sendable {
  private let slot: UnsafeMutablePointer<OperationSlot>

  /// Makes a slot; called by the table.
  init(index: UInt32, core: LoopCore) {
    // SAFETY: freed in `deallocate()`, which the table calls when it ends.
    unsafe slot = .allocate(capacity: 1)
    let id = OperationID(index: index, generation: 0)
    unsafe slot.initialize(
      to: OperationSlot(id: id, parking: ParkingSpot(operation: self), core: .passUnretained(core)))
  }

  func deallocate() {
    // SAFETY: the table that made the slot ends, so nothing can refer to the slot.
    unsafe slot.deinitialize(count: 1)
    unsafe slot.deallocate()
  }

  // SAFETY (all of these): the slot is valid, see above; accesses are short and do not nest.
  var id: OperationID { unsafe slot.pointee.id }
  var request: OperationRequest {
    get { unsafe slot.pointee.request }
    nonmutating set { unsafe slot.pointee.request = newValue }
  }
  var isTry: Bool {
    get { unsafe slot.pointee.isTry }
    nonmutating set { unsafe slot.pointee.isTry = newValue }
  }
  var endsWithDraining: Bool {
    get { unsafe slot.pointee.endsWithDraining }
    nonmutating set { unsafe slot.pointee.endsWithDraining = newValue }
  }
  var isInLine: Bool {
    get { unsafe slot.pointee.isInLine }
    nonmutating set { unsafe slot.pointee.isInLine = newValue }
  }
  var waitsForTurn: Bool {
    get { unsafe slot.pointee.waitsForTurn }
    nonmutating set { unsafe slot.pointee.waitsForTurn = newValue }
  }
  var descriptor: Int32 { unsafe slot.pointee.descriptor }
  var socket: OpenSocket? { unsafe slot.pointee.socket?.takeUnretainedValue() }
  private var parking: ParkingSpot { unsafe slot.pointee.parking }
  var header: UnsafeMutablePointer<cms_msghdr> { unsafe slot.pointee.memory.header }
  /// Whether this is a send with its own destination address.
  var sendsToAddress: Bool {
    if case .send = request { unsafe header.pointee.name != nil } else { false }
  }

  var core: LoopCore { unsafe slot.pointee.core.takeUnretainedValue() }

  /// Passes the core to `body` without retaining it.
  func withCore<R>(_ body: (LoopCore) -> R) -> R {
    unsafe slot.pointee.core._withUnsafeGuaranteedRef(body)
  }

  /// Passes the socket, if there is one, to `body` without retaining it. The operation must not be
  /// recycled during the call.
  func withSocket<R>(_ body: (OpenSocket) -> R) -> R? {
    unsafe slot.pointee.socket?._withUnsafeGuaranteedRef(body)
  }

  var life: OperationLifecycle {
    get { unsafe slot.pointee.life }
    nonmutating _modify { yield unsafe &slot.pointee.life }
  }

  var memory: OperationMemory {
    _read { yield unsafe slot.pointee.memory }
  }

  var buffers: OperationBuffers {
    _read { yield unsafe slot.pointee.buffers }
    nonmutating _modify { yield unsafe &slot.pointee.buffers }
  }

  var outcome: OperationOutcome {
    _read { yield unsafe slot.pointee.outcome }
    nonmutating _modify { yield unsafe &slot.pointee.outcome }
  }

  /// Notes the turn in which the operation was submitted or began to wait for a prefetched message.
  func noteStart() { withCore { unsafe slot.pointee.turn = $0.turnNumber } }
  var wasStartedInThisTurn: Bool { withCore { unsafe slot.pointee.turn == $0.turnNumber } }

  /// Whether the kernel has the operation.
  var isInKernel: Bool {
    switch request {
    case .timer, .event, .waitForMessage: false
    default: life.state == .inKernel || life.state == .stopping
    }
  }

  /// Starts a new use of the slot.
  func prepare(_ request: OperationRequest, socket: OpenSocket?) {
    life.queue()
    unsafe slot.pointee.request = request
    unsafe slot.pointee.isTry = false
    unsafe slot.pointee.endsWithDraining = false
    assert(!isInLine && !waitsForTurn, "A slot is in use twice")
    unsafe slot.pointee.descriptor = socket?.number ?? -1
    unsafe slot.pointee.socket = socket.map { unsafe .passRetained($0) }
    unsafe slot.pointee.task = ParkedTask()
  }

  /// Ends the use of the slot: returns its buffers and renews the identifier, so that this use can
  /// no longer be found.
  func recycle(on core: LoopCore) {
    buffers.release(to: core)
    life.recycle()
    unsafe slot.pointee.socket.take()?.release()
    unsafe slot.pointee.id = OperationID(index: id.index, generation: id.generation &+ 1)
    core.operations.release(self)
  }

  /// Frees the slot of an operation whose outcome was taken. A task that reached the loop's thread
  /// without preferring the loop (`Task.immediate`) continues elsewhere after its wait.
  func recycleFromAnywhere() {
    withCore { core in
      if core.isCurrent {
        recycle(on: core)
      } else {
        core.inbox.send(.recycle(self))
      }
    }
  }

  /// Ends the use of an operation that no task awaits: it was prepared but not started, or holds a
  /// message that was not asked for.
  func discard(on core: LoopCore) {
    _ = life.stop(.taskCancelled)
    outcome = OperationOutcome()
    recycle(on: core)
  }

  /// The number of descriptors that came with a received message.
  var receivedDescriptors: Int { unsafe slot.pointee.outcome.descriptors.count }

  /// Moves the outcome out. The awaiting code calls this once, and then recycles the slot.
  func takeOutcome() -> OperationOutcome {
    // SAFETY: moved out and reinitialized in one step.
    var taken = unsafe withUnsafeMutablePointer(to: &slot.pointee.outcome) { outcome in
      let taken = unsafe outcome.move()
      unsafe outcome.initialize(to: OperationOutcome())
      return taken
    }
    taken.result.stopReason = life.stopReason
    return taken
  }

  /// Whether the outcome is a received message, not the end or an error.
  var isMessage: Bool { unsafe slot.pointee.outcome.isMessage }

  // MARK: Waiting

  /// Prepares for a wait after which the task continues in `state`.
  private func willPark(returningTo state: ExecutorState) {
    unsafe slot.pointee.task.returnState = state
  }

  /// Receives the waiting task from the runtime.
  fileprivate func park(_ job: UnownedJob) {
    withCore { core in
      precondition(core.isCurrent, "A task was parked from another thread than the loop's")
      if let ready = unsafe slot.pointee.task.park(job) { core.makeReady(ready) }
    }
  }

  /// Resumes the task after the operation has ended: as a job of the loop, never directly from
  /// here.
  func resumeTask(on core: LoopCore) {
    if waitsForTurn {
      waitsForTurn = false
      core.endedWithinTurn()
    }
    if let ready = unsafe slot.pointee.task.resume() { core.makeReady(ready) }
  }

  /// Resumes a task that waits only until the end of the turn, although the operation has not
  /// ended.
  func resumeTaskForTurn(on core: LoopCore) {
    waitsForTurn = false
    if case .send = request {} else { withSocket { $0.sameTurn.note(false) } }
    if let ready = unsafe slot.pointee.task.resumeForTurn() { core.makeReady(ready) }
  }

  // MARK: Cancellation

  /// Makes a cancellation of the current task stop this operation, until the registration is
  /// removed. The slot must not be recycled before that. Returns nil if the task was already
  /// cancelled; the operation has then been asked to stop.
  @unsafe
  private func addCancellationHandler() -> UnsafeMutableRawPointer? {
    let handler = unsafe memory.cancellationHandler
    let registration = unsafe cms_cancellation_handler(
      body: { core, id in
        // SAFETY: the core outlives the registration.
        let core = unsafe Unmanaged<LoopCore>.fromOpaque(core).takeUnretainedValue()
        core.stopFromAnywhere(OperationID(userData: id), .taskCancelled)
      },
      context: slot.pointee.core.toOpaque(), argument: id.userData)
    unsafe handler.initialize(to: registration)
    return unsafe cms_task_add_cancellation_handler(handler)
  }
}

extension Operation: Equatable {
  static func == (left: Operation, right: Operation) -> Bool { unsafe left.slot == right.slot }
}

/// The data of an ``Operation``: a request to the kernel, all memory that the kernel may touch for
/// it, and its outcome.
@safe
private struct OperationSlot: ~Copyable {
  var id: OperationID
  var life = OperationLifecycle()
  var request = OperationRequest.timer
  /// The socket's descriptor number. It stays open, and stays this socket, as long as `socket` is
  /// held.
  var descriptor: Int32 = -1
  /// Keeps the socket alive; the operation is in one of its queues.
  ///
  /// SAFETY: retained only by `Operation.prepare`, released only by `Operation.recycle`. Unmanaged,
  /// so that an access costs no reference counting.
  var socket: Unmanaged<OpenSocket>?
  let memory = OperationMemory()
  /// The loop turn in which the operation was submitted or began to wait for a prefetched message.
  var turn: UInt32 = 0
  /// Memory for this use, returned when the slot is recycled.
  var buffers = OperationBuffers()
  var outcome = OperationOutcome()
  /// Whether the receive takes only a message and leaves an end or an error to the next receive.
  var isTry = false
  /// Whether the receive stops waiting when its socket drains.
  var endsWithDraining = false
  /// Whether the operation waits for its turn in an ``OperationLine``.
  var isInLine = false
  /// Whether the task continues at the end of the loop's turn in any case.
  var waitsForTurn = false
  let parking: ParkingSpot
  /// The task that waits for the outcome.
  var task = ParkedTask()
  /// SAFETY: not retained, because the core owns the table that owns this slot.
  let core: Unmanaged<LoopCore>
}

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
private actor ParkingSpot: SerialExecutor {
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
private struct ParkedTask: Sendable {
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
