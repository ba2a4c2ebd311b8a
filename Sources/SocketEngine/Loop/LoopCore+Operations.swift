// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension LoopCore {
  /// A fresh operation, not yet started.
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

  /// An operation has had its final completion.
  func leaveKernel() {
    assert(state.value.inKernel > 0, "More operations have ended than were submitted")
    state.value.inKernel -= 1
  }

  /// A task that only sends must not keep the loop from all else.
  static let maximumSubmissionsWithinTurn = 64

  /// So many of them leave the other jobs that are ready waiting.
  private static let maximumSendsBeforeOthers = 16

  /// Whether a send may be tried from the job that has started it.
  private var maySendDirectly: Bool {
    let left = state.value.submissionsWithinTurn
    return submitsWithinTurn && left > 0
      && (state.value.ready.isEmpty
        || left > Self.maximumSubmissionsWithinTurn - Self.maximumSendsBeforeOthers)
  }

  /// Submits an operation that probably need not wait, from the job that has started it, where
  /// nobody else would share the system call: then its task goes on without being suspended.
  /// Whether the operation has ended.
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

  /// Asks an operation to end early. Nothing happens if it has ended already or its slot is in
  /// another use.
  func stop(_ id: OperationID, _ reason: StopReason) {
    guard let operation = operations.find(id) else { return }
    stop(operation, reason)
  }

  /// Stops an operation from any thread. Idempotent; too late is no error.
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

  /// How to receive one message: with memory from the start, which is fastest, until that many
  /// receives have some; then without, until there is something.
  func receiveRequest(flags: Int32) -> OperationRequest {
    let mayWaitWithoutMemory =
      acquiresReceiveMemoryEarly && flags & (cms_msg_errqueue | cms_msg_oob | cms_msg_dontwait) == 0
    return mayWaitWithoutMemory && controlBuffers.inUse >= configuration.waitingReceiveBuffers
      ? .receiveWhenReadable(flags: flags) : .receive(flags: flags)
  }

  /// The handle of `socket` is gone. From any thread.
  func handleReleased(_ socket: OpenSocket) {
    if isCurrent {
      socket.handleReleased()
    } else {
      inbox.send(.handleReleased(socket))
    }
  }

  /// The outcome is known: the socket's next operation may start, and the task may go on.
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
    case .send:
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

  /// An operation that nobody but ``signal(_:)`` finishes: a task can wait for something in this
  /// process.
  func makeEvent() -> Operation {
    let event = makeOperation(.event, socket: nil)
    event.life.submit()
    return event
  }

  /// Too late is no error: the event's task may have taken it.
  func signal(_ id: OperationID) {
    if let event = operations.find(id) { finishTimer(event, errno: nil) }
  }

  /// Copies of descriptors that were received ahead have been made.
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

// MARK: Waiting for a turn

extension LoopCore {
  /// The task of `operation` is to go on at the end of this turn, done or not.
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

  /// An operation has ended whose task was to go on at the end of the turn in any case. Its entry
  /// is not searched for.
  func endedWithinTurn() {
    assert(
      state.value.waitingForTurn > 0, "More operations have ended within the turn than wait for it")
    state.value.waitingForTurn -= 1
    if state.value.waitingForTurn == 0 {
      state.value.untilEndOfTurn.removeAll(keepingCapacity: true)
    }
  }
}
