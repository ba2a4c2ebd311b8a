// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// One slot of the loop's operation table, by reference.
///
/// A plain pointer, so that handing operations about costs no reference counting, and looking into
/// one no run-time exclusivity check: both were as expensive as the system call's own share
/// (Docs/Decisions/0002). What makes it safe: slots are made and freed by the ``OperationTable``
/// only, which lives as long as the loop's core; and all use is on the loop's thread, but for the
/// outcome of an operation that has ended, which is its waiting task's alone. That is also why
/// `@unchecked Sendable` is true.
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
    // SAFETY: the table that made the slot ends; nobody can name the slot any more.
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
  var parking: ParkingSpot { unsafe slot.pointee.parking }
  var header: UnsafeMutablePointer<cms_msghdr> { unsafe slot.pointee.memory.header }
  /// Whether it is a send to an address of its own.
  var sendsToAddress: Bool {
    if case .send = request { unsafe header.pointee.name != nil } else { false }
  }

  var core: LoopCore { unsafe slot.pointee.core.takeUnretainedValue() }

  /// Lends the core without retaining it.
  func withCore<R>(_ body: (LoopCore) -> R) -> R {
    unsafe slot.pointee.core._withUnsafeGuaranteedRef(body)
  }

  /// Lends the socket, if there is one, without retaining it. The operation must not be recycled
  /// meanwhile.
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

  /// It is handed to the kernel, or begins to wait for a message received ahead.
  func noteStart() { withCore { unsafe slot.pointee.turn = $0.turnNumber } }
  var wasStartedInThisTurn: Bool { withCore { unsafe slot.pointee.turn == $0.turnNumber } }

  /// Whether the kernel has it in hand.
  var isInKernel: Bool {
    switch request {
    case .timer, .event, .waitForMessage: false
    default: life.state == .inKernel || life.state == .stopping
    }
  }

  /// Takes the slot into use.
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

  /// Ends the use of the slot: returns what was lent, and renews the identifier, so that nobody
  /// finds this use any more.
  func recycle(on core: LoopCore) {
    buffers.release(to: core)
    life.recycle()
    unsafe slot.pointee.socket.take()?.release()
    unsafe slot.pointee.id = OperationID(index: id.index, generation: id.generation &+ 1)
    core.operations.release(self)
  }

  /// Frees the slot of an operation whose outcome was taken. A task that came to the loop's thread
  /// without preferring it (`Task.immediate`) goes on elsewhere after its wait.
  func recycleFromAnywhere() {
    withCore { core in
      if core.isCurrent {
        recycle(on: core)
      } else {
        core.inbox.send(.recycle(self))
      }
    }
  }

  /// Ends the use of an operation that nobody awaits: one that was prepared but not started, or a
  /// message that nobody has asked for.
  func discard(on core: LoopCore) {
    _ = life.stop(.taskCancelled)
    outcome = OperationOutcome()
    recycle(on: core)
  }

  /// How many descriptors came with a received message.
  var receivedDescriptors: Int { unsafe slot.pointee.outcome.descriptors.count }

  /// Moves the outcome out. Called once, by whoever has waited for it; then the slot is to be
  /// recycled.
  func takeOutcome() -> OperationOutcome {
    // SAFETY: moved out and initialised anew in one go.
    var taken = unsafe withUnsafeMutablePointer(to: &slot.pointee.outcome) { outcome in
      let taken = unsafe outcome.move()
      unsafe outcome.initialize(to: OperationOutcome())
      return taken
    }
    taken.result.stopReason = life.stopReason
    return taken
  }

  /// Whether the outcome is a received message, and not the end or an error.
  var isMessage: Bool { unsafe slot.pointee.outcome.isMessage }

  // MARK: Waiting

  /// A task is about to wait, and will go on in `state`.
  func willPark(returningTo state: ExecutorState) { unsafe slot.pointee.task.returnState = state }

  /// The runtime hands over the task that waits.
  func park(_ job: UnownedJob) {
    withCore { core in
      precondition(core.isCurrent, "A task was parked from another thread than the loop's")
      if let ready = unsafe slot.pointee.task.park(job) { core.makeReady(ready) }
    }
  }

  /// The operation is done: lets its task go on, as a job of the loop, never from here.
  func resumeTask(on core: LoopCore) {
    if waitsForTurn {
      waitsForTurn = false
      core.endedWithinTurn()
    }
    if let ready = unsafe slot.pointee.task.resume() { core.makeReady(ready) }
  }

  /// The turn is over and the operation is not done: lets a task that parked for the turn only look
  /// at that.
  func resumeTaskForTurn(on core: LoopCore) {
    waitsForTurn = false
    if case .send = request {} else { withSocket { $0.sameTurn.note(false) } }
    if let ready = unsafe slot.pointee.task.resumeForTurn() { core.makeReady(ready) }
  }

  // MARK: Cancellation

  /// Lets the cancellation of the current task stop this operation, until the registration is
  /// removed. The slot must not be recycled before. Nil if the task was cancelled already: the
  /// operation has been asked to stop then.
  @unsafe
  func addCancellationHandler() -> UnsafeMutableRawPointer? {
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

/// What an ``Operation`` names: a request to the kernel, all memory that the kernel may touch for
/// it, and its outcome.
@safe
struct OperationSlot: ~Copyable {
  var id: OperationID
  var life = OperationLifecycle()
  var request = OperationRequest.timer
  /// The socket's number. It stays open, and stays this socket, as long as `socket` is held.
  var descriptor: Int32 = -1
  /// Keeps the socket alive, and names whose queue the operation stands in.
  ///
  /// SAFETY: retained by `Operation.prepare`, released by `Operation.recycle`, and by nobody else.
  /// Unmanaged, so that a look costs no reference counting.
  var socket: Unmanaged<OpenSocket>?
  let memory = OperationMemory()
  /// The turn of the loop in which it was handed to the kernel, or began to wait for a message
  /// received ahead.
  var turn: UInt32 = 0
  /// Lent for this use; given back when the slot is recycled.
  var buffers = OperationBuffers()
  var outcome = OperationOutcome()
  /// A receive that takes a message and nothing else: an end or an error is left to the next one.
  var isTry = false
  /// A receive that waits no longer than until its socket drains.
  var endsWithDraining = false
  /// It waits for its turn in an ``OperationLine``.
  var isInLine = false
  /// Its task goes on at the end of the loop's turn in any case.
  var waitsForTurn = false
  let parking: ParkingSpot
  /// Who waits for the outcome.
  var task = ParkedTask()
  /// SAFETY: not retained: the core owns the table that owns this slot.
  let core: Unmanaged<LoopCore>
}

/// Names one use of an operation's slot: the slot's index and how often the slot had been used
/// before.
///
/// The kernel gets this number as `user_data` and gives it back with each completion; other threads
/// get it to ask for a cancellation. A number can be compared after its operation is gone, a
/// pointer cannot: a late completion or a late cancellation finds another generation in the slot
/// and is dropped.
package struct OperationID: Hashable, Sendable {
  package let index: UInt32
  package let generation: UInt32

  package init(index: UInt32, generation: UInt32) {
    self.index = index
    self.generation = generation
  }

  package init(userData: UInt64) {
    index = UInt32(truncatingIfNeeded: userData)
    generation = UInt32(truncatingIfNeeded: userData >> 32)
  }

  package var userData: UInt64 { UInt64(generation) << 32 | UInt64(index) }
}
