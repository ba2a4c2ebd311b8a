// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension LoopCore {
  /// Returns a new operation, not yet started.
  func makeOperation(_ request: OperationRequest, socket: OpenSocket?) -> Operation {
    assert(isCurrent, "A loop was used outside its thread")
    let operation = operations.take { Operation(index: $0, core: self) }
    operation.prepare(request, socket: socket)
    return operation
  }

  /// Hands a queued operation to the kernel.
  func submit(_ operation: Operation) {
    operation.life.submit()
    operation.noteStart()
    state.value.inKernel += 1
    if case .send = operation.request, maySendDirectly,
      let result = driver.sendDirectly(operation)
    {
      noteSubmissionWithinTurn()
      complete(cms_completion(user_data: operation.id.userData, result: result, flags: 0))
    } else {
      driver.start(operation)
    }
  }

  /// Notes that an operation has had its final completion.
  func leaveKernel() {
    assert(state.value.inKernel > 0, "More operations have ended than were submitted")
    state.value.inKernel -= 1
  }

  /// The bound that keeps a task that only sends from blocking everything else.
  static let maximumSubmissionsWithinTurn = 64

  /// The number of direct sends that may run while other jobs are ready.
  private static let maximumSendsBeforeOthers = 16

  /// Whether a send may be attempted from within the job that starts it.
  private var maySendDirectly: Bool {
    let left = state.value.submissionsWithinTurn
    return submitsWithinTurn && left > 0
      && (state.value.ready.isEmpty
        || left > Self.maximumSubmissionsWithinTurn - Self.maximumSendsBeforeOthers)
  }

  /// Submits an operation that probably does not have to wait, from within the job that starts it,
  /// if no other request would share the system call. Its task then continues without being
  /// suspended. Returns whether the operation has ended.
  func finishesAtOnce(_ operation: Operation) -> Bool {
    guard mayFinishAtOnce, operation.life.state == .inKernel else {
      return operation.life.state == .done
    }
    noteSubmissionWithinTurn()
    turnDriver(.none)
    reapCompletions()
    return operation.life.state == .done
  }

  private func noteSubmissionWithinTurn() { state.value.submissionsWithinTurn -= 1 }

  private var mayFinishAtOnce: Bool {
    submitsWithinTurn && state.value.ready.isEmpty && !state.value.hasSendsUntilEndOfTurn
      && state.value.submissionsWithinTurn > 0
  }

  /// Asks an operation to end early. Does nothing if it has ended or its slot has been reused.
  func stop(_ id: OperationID, _ reason: StopReason) {
    guard let operation = operations.find(id) else { return }
    stop(operation, reason)
  }

  /// Stops an operation from any thread. Idempotent; stopping an operation that has ended does
  /// nothing.
  func stopFromAnywhere(_ id: OperationID, _ reason: StopReason) {
    if isCurrent {
      stop(id, reason)
    } else {
      inbox.send(.stop(id, reason))
    }
  }

  func stop(_ operation: Operation, _ reason: StopReason) {
    assert(isCurrent, "A loop was used outside its thread")
    switch operation.life.stop(reason) {
    case .none: break
    case .finish:
      operation.fail(.canceled)
      if case .waitForMessage = operation.request {
        statistics.cancellations += 1
        statistics.cancelled += 1
      } else {
        statistics.stoppedBeforeSubmission += 1
      }
      finish(operation)
    case .cancelInKernel:
      switch operation.request {
      case .timer:
        statistics.cancellations += 1
        statistics.cancelled += 1
        finishTimer(operation, errno: .canceled)
      case .event: finishTimer(operation, errno: .canceled)
      case .receiveAhead:
        statistics.multishotStops += 1
        driver.cancel(operation)
      default:
        statistics.cancellations += 1
        driver.cancel(operation)
      }
    }
  }

  func complete(_ completion: cms_completion) {
    guard let operation = operations.find(OperationID(userData: completion.user_data)) else {
      preconditionFailure("A completion names an operation that has ended")
    }
    statistics.completions += 1
    if case .receiveAhead = operation.request { return completeReceiveAhead(operation, completion) }
    switch operation.absorb(completion) {
    case .again: driver.start(operation)
    case .finished:
      operation.life.finish()
      leaveKernel()
      count(operation)
      finish(operation)
    }
  }

  /// How to receive one message. A receive holds memory from the start, which is fastest, until
  /// `waitingReceiveBuffers` receives do so; further ones take memory only when there is something
  /// to receive.
  func receiveRequest(flags: Int32) -> OperationRequest {
    let mayWaitWithoutMemory =
      acquiresReceiveMemoryEarly && flags & (cms_msg_errqueue | cms_msg_oob | cms_msg_dontwait) == 0
    return mayWaitWithoutMemory && controlBuffers.inUse >= configuration.waitingReceiveBuffers
      ? .receiveWhenReadable(flags: flags) : .receive(flags: flags)
  }

  /// Notes that the handle of `socket` was released. Callable from any thread.
  func handleReleased(_ socket: OpenSocket) {
    if isCurrent {
      socket.handleReleased()
    } else {
      inbox.send(.handleReleased(socket))
    }
  }

  /// The outcome is known: starts the socket's next operation and resumes the task.
  func finish(_ operation: Operation) {
    if case .receiveAhead = operation.request {
      return endReceiveAhead(operation, operation.outcome.errno)
    }
    operation.withSocket { $0.leave(operation) }
    operation.resumeTask(on: self)
  }

  private func count(_ operation: Operation) {
    let errno = operation.outcome.errno
    let byteCount = operation.outcome.byteCount
    switch operation.request {
    case .send, .pauseSending:
      if errno == nil { statistics.messagesSent += 1 }
      statistics.bytesSent += UInt64(byteCount)
    case .receive where errno == nil: countReceived(operation.outcome, byteCount: byteCount)
    default: break
    }
    guard operation.life.stopReason != nil else { return }
    switch errno {
    case .canceled where byteCount > 0: statistics.stoppedPartWay += 1
    case .canceled: statistics.cancelled += 1
    default: statistics.wonAgainstCancellation += 1
    }
  }

  /// Finishes a waiting task's operation with a message.
  func finishWaiter(_ waiter: Operation, _ outcome: consuming OperationOutcome) {
    waiter.life.submit()
    waiter.life.finish()
    waiter.outcome = outcome
    waiter.resumeTask(on: self)
  }

  /// Makes an ended operation that holds a message until a task asks for it.
  func makeMessage(_ outcome: consuming OperationOutcome) -> Operation {
    let message = makeOperation(.waitForMessage(copying: false, room: 0), socket: nil)
    message.life.submit()
    message.life.finish()
    message.outcome = outcome
    return message
  }

  /// Returns an operation that only ``signal(_:)`` finishes, so that a task can wait for something
  /// in this process.
  func makeEvent() -> Operation {
    let event = makeOperation(.event, socket: nil)
    event.life.submit()
    return event
  }

  /// Finishes an event. Does nothing if the event's task has already taken it.
  func signal(_ id: OperationID) {
    if let event = operations.find(id) { finishTimer(event, errno: nil) }
  }

  /// Counts the copies of descriptors from prefetched messages.
  func noteReceived(_ count: Int) { statistics.descriptorsReceived += UInt64(count) }

  func countReceived(_ outcome: borrowing OperationOutcome, byteCount: Int) {
    if outcome.isEnd { return }
    statistics.messagesReceived += 1
    statistics.bytesReceived += UInt64(byteCount)
    statistics.descriptorsReceived += UInt64(outcome.descriptors.count)
    if let evaluation = outcome.evaluation {
      statistics.descriptorsReceived += UInt64(evaluation.closed)
      statistics.descriptorsRefused += UInt64(evaluation.closed)
    }
  }
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

/// All operations of a loop, found by index and checked by generation. Slots are reused, last freed
/// first, and never move.
///
/// Slots are not freed before the loop ends, so that a stale queue entry may refer to a slot that
/// has been reused. The table keeps as many slots as there were operations in use at one time,
/// about 1 KiB each.
struct OperationTable: ~Copyable {
  private var slots: [Operation] = []
  private var free: [UInt32] = []

  init() {}

  deinit {
    for operation in slots { operation.deallocate() }
  }

  /// How many operations are in use.
  var inUse: Int { slots.count - free.count }

  /// Takes a free slot, or calls `make` with a new index if there is none.
  mutating func take(orMake make: (UInt32) -> Operation) -> Operation {
    if let index = free.popLast() { return slots[Int(index)] }
    let operation = make(UInt32(slots.count))
    slots.append(operation)
    return operation
  }

  /// The operation with this ID, or nil if its slot has been reused.
  func find(_ id: OperationID) -> Operation? {
    guard id.index < slots.count else { return nil }
    let operation = slots[Int(id.index)]
    return operation.id == id && operation.life.state != .free ? operation : nil
  }

  /// Returns a slot to the table. Its identifier must have been renewed already.
  mutating func release(_ operation: Operation) {
    assert(operation.life.state == .free && free.count < slots.count, "A slot was released twice")
    free.append(operation.id.index)
  }

  /// A snapshot of all operations in use.
  var allInUse: [Operation] { slots.filter { $0.life.state != .free } }
}

// MARK: Waiting for the end of a turn

extension LoopCore {
  /// Arranges that the task of `operation` continues at the end of this turn, even if the operation
  /// has not ended.
  func resumeAfterTurn(_ operation: Operation) {
    state.value.untilEndOfTurn.append(operation.id)
    state.value.waitingForTurn += 1
    operation.waitsForTurn = true
    if case .send = operation.request { state.value.hasSendsUntilEndOfTurn = true }
  }

  func resumeWhoWaitedForTheTurn() {
    state.value.hasSendsUntilEndOfTurn = false
    while let id = state.value.untilEndOfTurn.popLast() {
      if let operation = operations.find(id), operation.waitsForTurn {
        operation.resumeTaskForTurn(on: self)
      }
    }
    state.value.waitingForTurn = 0
  }

  /// Notes the end of an operation whose task would continue at the end of the turn. Its entry
  /// stays in the list and is skipped later.
  func endedWithinTurn() {
    assert(
      state.value.waitingForTurn > 0, "More operations have ended within the turn than wait for it")
    state.value.waitingForTurn -= 1
    if state.value.waitingForTurn == 0 {
      state.value.untilEndOfTurn.removeAll(keepingCapacity: true)
    }
  }
}
