internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// One slot of the operation table: a request to the kernel, all memory that the kernel may touch for it, and its outcome.
///
/// Loop-confined: every member is used on the loop's thread only, which is why `@unchecked Sendable` is true. The class is a
/// `SerialExecutor` so that a task can be parked in it; see `Awaiter`.
package final class Operation: @unchecked Sendable {
  package private(set) var id: OperationID
  package var life = OperationLife()
  package private(set) var request = OperationRequest.timer
  /// The socket's number. It stays open, and stays this socket, as long as `channel` is held.
  private(set) var descriptor: Int32 = -1
  /// Keeps the socket alive, and names whose queue the operation stands in.
  private(set) var channel: SocketChannel?

  let memory = OperationMemory()
  /// Lent for this use; given back when the slot is recycled.
  var loan = OperationLoan()
  var outcome = OperationOutcome()

  unowned let core: LoopCore
  private(set) var awaiter: Awaiter!
  var parked = ParkedTask.absent
  /// The executor state in which the parked task will go on; noted just before it parks.
  var returnState = ExecutorState.serial

  init(index: UInt32, core: LoopCore) {
    id = OperationID(index: index, generation: 0)
    self.core = core
    awaiter = Awaiter(operation: self)
  }

  /// Takes the slot into use.
  func prepare(_ request: OperationRequest, channel: SocketChannel?) {
    life.queue()
    self.request = request
    self.channel = channel
    descriptor = channel?.number ?? -1
    outcome = OperationOutcome()
    parked = .absent
  }

  /// Ends the use of the slot: returns what was lent, and renews the identifier, so that nobody finds this use any more.
  func recycle() {
    loan.giveBack(to: core)
    life.recycle()
    channel = nil
    id = OperationID(index: id.index, generation: id.generation &+ 1)
    core.operations.giveBack(self)
  }

  /// Ends the use of an operation that was prepared but not started: nobody awaits it.
  func discard() {
    _ = life.stop(.taskCancelled)
    recycle()
  }

  /// Moves the outcome out and frees the slot. Called once, by the awaiting task, on the loop's thread.
  func takeOutcome() -> OperationOutcome {
    var taken = OperationOutcome()
    swap(&taken, &outcome)
    taken.stopReason = life.stopReason
    recycle()
    return taken
  }
}
