// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// All operations of a loop, found by index and checked by generation. Slots are reused, last freed
/// first, and never move.
///
/// They are not freed before the loop ends, so that an entry of a queue can name a slot that is in
/// another use: as many stay as operations were in use together at most, about 1 KiB each.
struct OperationTable: ~Copyable {
  private var slots: [Operation] = []
  private var free: [UInt32] = []

  init() {}

  deinit {
    for operation in slots { operation.deallocate() }
  }

  /// How many operations are in use.
  var inUse: Int { slots.count - free.count }

  /// Takes a slot; `make` builds a new one, for the index given, if none is free.
  mutating func take(orMake make: (UInt32) -> Operation) -> Operation {
    if let index = free.popLast() { return slots[Int(index)] }
    let operation = make(UInt32(slots.count))
    slots.append(operation)
    return operation
  }

  /// The operation that `id` names, or nil if its slot has moved on.
  func find(_ id: OperationID) -> Operation? {
    guard id.index < slots.count else { return nil }
    let operation = slots[Int(id.index)]
    return operation.id == id && operation.life.state != .free ? operation : nil
  }

  /// Gives a slot back. Its identifier must have been renewed before.
  mutating func release(_ operation: Operation) {
    assert(operation.life.state == .free && free.count < slots.count, "A slot was released twice")
    free.append(operation.id.index)
  }

  /// All operations in use, as of now.
  var allInUse: [Operation] { slots.filter { $0.life.state != .free } }
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
