// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

// Multishot receives. One request brings a message after the other into the loop's shared buffers,
// while the window has room:
//
//   demand, nothing received ahead ──▶ armed ──window full──▶ stopping ──final completion──▶ idle ──demand──▶ armed
//
// A round of the kernel's may bring up to 32 messages, and more may be on their way when the window
// is full: beyond the window stand at most as many messages as the loop has buffers; before Linux
// 6.1, where the buffers may be filled once more before the kernel sees the cancellation, twice as
// many.

extension OpenSocket {
  /// The next message, if one has been received ahead; at most `room` bytes of it.
  func takeReceivedAhead(room: Int = .max) -> OperationOutcome? {
    guard let message = popReceivedAhead(room: room) else { return nil }
    let outcome = message.takeOutcome()
    message.recycle(on: core)
    return outcome
  }

  /// The same as it is: an operation that has ended.
  private func popReceivedAhead(room: Int) -> Operation? {
    guard let message = receiver.popMessage() else { return nil }
    if let rest = cut(&message.outcome, to: room) {
      receiver.keep(core.makeMessage(rest), inFront: true)
    }
    if receiver.isIdle { isReceivingAhead = false }
    return message
  }

  /// A copy of the next message, if one has been received ahead; at most `room` bytes of it. The
  /// message stays the next.
  func copyReceivedAhead(room: Int = .max) -> OperationOutcome? {
    guard var copy = receiver.readAhead.first?.copyOutcome() else { return nil }
    core.noteReceived(copy.descriptors.count)
    _ = cut(&copy, to: room)
    return copy
  }

  /// The next message of those received ahead, or a copy of it, for a receive that comes now: nil
  /// if it is empty, or others come first.
  func nextAhead(copying: Bool, room: Int) -> Operation? {
    guard isNextAhead else { return nil }
    guard copying else { return popReceivedAhead(room: room) }
    guard let copy = copyReceivedAhead(room: room) else { return nil }
    return core.makeMessage(copy)
  }

  /// Whether a receive that comes now finds something that was received ahead.
  var isNextAhead: Bool { !receiver.readAhead.isEmpty && receiveInFront == nil }

  /// Whether a multishot receive is queued or in the kernel.
  var isArmed: Bool { receiver.armed != nil }

  /// Whether the next that was received ahead is a message, and not the end or an error.
  var hasMessageAhead: Bool { receiver.readAhead.first?.isMessage ?? false }

  /// Whether a receive must take its turn with the messages received ahead. If not, it stands in
  /// the queue, behind others that do not.
  var receivesInOrderAhead: Bool {
    receiver.armed != nil || !receiver.readAhead.isEmpty && !isReceiving
  }

  /// The receive of a single message that comes before those that wait for messages received ahead.
  var receiveInFront: Operation? { incoming.active == receiver.armed ? nil : incoming.active }

  /// Whether more than is asked for may be received.
  var mayReceiveAhead: Bool {
    core.canReceiveAhead && receiver.readAhead.window.permitsReadAhead && !hasNoEndOfItsOwn
      && policy?.permitsReceivingAhead ?? true
  }

  func setWindow(_ window: ReceiveWindow) {
    if window == receiver.readAhead.window { return }
    receiver.setWindow(window)
    limitReceivingAhead()
  }

  /// Stops the multishot receive if the policy or the window does not permit it any more. It may
  /// still bring messages until it has ended.
  func limitReceivingAhead() {
    if let armed = receiver.armed, receiver.readAhead.isFull || !mayReceiveAhead {
      core.stop(armed, .windowFull)
    }
  }

  /// Waits for the next message of the multishot receive, which is armed for it if need be.
  func waitForMessage(copying: Bool = false, room: Int = .max) -> Operation {
    let waiter = core.makeOperation(.waitForMessage(copying: copying, room: room), socket: self)
    receiver.addWaiter(waiter)
    waiter.noteStart()
    armIfNeeded()
    // What it could have waited for does not come any more.
    if !core.isRunning { core.stop(waiter, core.endReason) }
    return waiter
  }

  private func armIfNeeded() {
    guard receiver.armed == nil, receiver.hasWaiters, isOpen, core.isRunning else { return }
    guard mayReceiveAhead else { return receiveForWaiters() }
    let operation = core.makeOperation(.receiveAhead, socket: self)
    operation.prepareReceiveAhead()
    receiver.armed = operation
    core.statistics.multishotStarts += 1
    isReceivingAhead = true
    start(operation)
  }

  /// Each task that waits receives a message of its own, and nothing ahead.
  private func receiveForWaiters() {
    let flags =
      cms_msg_cmsg_cloexec | (hasNoEndOfItsOwn ? cms_msg_dontwait : 0)
      | (kind == .stream ? 0 : cms_msg_trunc)
    for waiter in receiver.takeWaiters() {
      guard case .waitForMessage(let copying, let room) = waiter.request else {
        preconditionFailure("Not a waiter")
      }
      waiter.prepareReceive(flags: copying ? flags | cms_msg_peek : flags, room: room)
      start(waiter)
    }
  }

  /// A message has come: the first waiting task gets it, or it is kept, behind the others or in
  /// front of them.
  func deliver(_ outcome: consuming OperationOutcome, inFront: Bool = false) {
    // Nobody can ask for it any more; what it carries closes here.
    if isAbandoned {
      outcome.judgement?.discard(&outcome.descriptors)
      return
    }
    while let waiter = receiver.popWaiter() {
      guard case .waitForMessage(let copying, let room) = waiter.request else {
        preconditionFailure("Not a waiter")
      }
      answersInTurn.note(waiter.wasStartedInThisTurn)
      if copying {
        var copy = outcome.copy()
        core.noteReceived(copy.descriptors.count)
        _ = cut(&copy, to: room)
        core.finishWaiter(waiter, copy)
      } else {
        // Here and not when the waiter's task runs: the rest goes before what comes next.
        let rest = cut(&outcome, to: room)
        core.finishWaiter(waiter, outcome)
        if let rest { deliver(rest, inFront: true) }
        return
      }
    }
    receiver.keep(core.makeMessage(outcome), inFront: inFront)
    isReceivingAhead = true
    if receiver.readAhead.isFull || policy?.hasTooManyUnclosed ?? false, let armed = receiver.armed
    {
      core.stop(armed, .windowFull)
    }
  }

  /// The multishot receive has had its final completion. Its operation has left the queue.
  func receiveAheadEnded(_ errno: Errno?) {
    receiver.armed = nil
    core.statistics.multishotEnds += 1
    switch errno {
    // Ended on request; or by the kernel's own limits (no buffer was free, completions overflowed),
    // with nothing lost.
    case nil, .canceled, .interrupted, .noBufferSpace: break
    case let errno?:
      var outcome = OperationOutcome()
      outcome.errno = errno
      deliver(outcome)
    }
    if hasNoEndOfItsOwn { stopWaiters(.receivingEnded) }
    if !isOpen || !core.isRunning { stopWaiters(isOpen ? core.endReason : .socketClosed) }
    armIfNeeded()
    if receiver.isIdle { isReceivingAhead = false }
    signalDisarmed()
  }

  func stopWaiters(_ reason: StopReason) {
    for waiter in receiver.takeWaiters() { core.stop(waiter, reason) }
  }

  /// Cuts a message received ahead that does not fit into the caller's memory: as in the kernel, a
  /// stream keeps the rest for the next receive, other sockets lose it and say so.
  private func cut(_ outcome: inout OperationOutcome, to room: Int) -> OperationOutcome? {
    let excess = outcome.payload.count - room
    guard excess > 0 else { return nil }
    defer { outcome.payload.removeLast(excess) }
    guard kind == .stream else {
      outcome.messageFlags |= cms_msg_trunc
      if let policy {
        core.statistics.descriptorsRefused += UInt64(policy.judgeTruncation(&outcome))
      }
      return nil
    }
    outcome.byteCount = room
    return OperationOutcome(bytes: outcome.payload[room...])
  }

  /// The socket's handle is gone: nobody will ask for messages.
  func abandon() {
    isAbandoned = true
    if let armed = receiver.armed { core.stop(armed, .socketClosed) }
    discardReceivedAhead()
  }

  func discardReceivedAhead() {
    while let message = receiver.popMessage() {
      message.outcome.judgement?.discard(&message.outcome.descriptors)
      message.discard(on: core)
    }
  }
}
