// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// What an ``Operation`` names: a request to the kernel, all memory that the kernel may touch for
/// it, and its outcome.
@safe
struct OperationSlot: ~Copyable {
  var id: OperationID
  var life = OperationLife()
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
  var loan = OperationLoan()
  var outcome = OperationOutcome()
  /// A receive that takes a message and nothing else: an end or an error is left to the next one.
  var isTry = false
  let parking: ParkingSpot
  /// Who waits for the outcome.
  var task = ParkedTask()
  /// SAFETY: not retained: the core owns the table that owns this slot.
  let core: Unmanaged<LoopCore>
}
