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
  var parking: ParkingSpot { unsafe slot.pointee.parking }
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
  func willPark(returningTo state: ExecutorState) { unsafe slot.pointee.task.returnState = state }

  /// Receives the waiting task from the runtime.
  func park(_ job: UnownedJob) {
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

/// The data of an ``Operation``: a request to the kernel, all memory that the kernel may touch for
/// it, and its outcome.
@safe
struct OperationSlot: ~Copyable {
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

/// Identifies one use of an operation's slot: the slot's index, and how often the slot was used
/// before.
///
/// The kernel gets this number as `user_data` and returns it with each completion; other threads
/// use it to request a cancellation. Unlike a pointer, a number can be compared after its operation
/// is gone: a late completion or cancellation finds another generation in the slot and is dropped.
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
