// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import DequeModule
internal import SystemPackage

// Multishot receives. One request brings one message after another into the loop's shared buffers,
// while the window has room:
//
//   demand, nothing received ahead ──▶ armed ──window full──▶ stopping ──final completion──▶ idle ──demand──▶ armed
//
// The kernel may deliver up to 32 messages in a round, and more may be in progress when the window
// becomes full. So the window is exceeded by at most as many messages as the loop has buffers.
// Before Linux 6.1 it is at most twice as many, because the buffers may be filled once more before
// the kernel sees the cancellation.

/// The multishot receive of a socket, and its receivers: waiting tasks get messages first, in
/// order; further messages are prefetched within a window. Each prefetched message is an operation
/// that has ended and that no task awaits; its outcome owns the message.
struct MultishotReceive {
  /// The request, queued or in the kernel.
  fileprivate var armed: Operation?
  /// How many calls are about to release the socket; until they finish, nothing is armed.
  fileprivate var pauses = 0 {
    didSet { assert(pauses >= 0, "A release of a socket has ended twice") }
  }
  fileprivate(set) var window = ReceiveWindow()
  private var waiters = OperationLine()
  private var prefetched: Deque<Operation> = []
  /// The number of descriptors that the prefetched messages hold.
  private var descriptors = 0

  init() {}

  var isIdle: Bool { armed == nil && prefetched.isEmpty }
  fileprivate var isFull: Bool {
    prefetched.count >= window.messages || descriptors >= window.descriptors
  }

  // MARK: Waiting tasks

  var hasWaiters: Bool { !waiters.isEmpty }
  /// The waiters that stop waiting when the socket drains.
  var waitersUntilDraining: [Operation] { waiters.all.filter(\.endsWithDraining) }

  fileprivate mutating func addWaiter(_ waiter: Operation) { waiters.append(waiter) }
  fileprivate mutating func popWaiter() -> Operation? { waiters.popFirst() }
  mutating func removeWaiter(_ waiter: Operation) { waiters.remove(waiter) }

  // MARK: Prefetched messages

  var hasPrefetched: Bool { !prefetched.isEmpty }
  var firstPrefetched: Operation? { prefetched.first }
  /// Whether there is a message among what was prefetched, and not just the end or errors.
  var hasPrefetchedMessage: Bool { prefetched.contains { $0.isMessage } }

  fileprivate mutating func keep(_ message: Operation, inFront: Bool) {
    assert(message.life.state == .done, "A message that has not arrived is kept")
    inFront ? prefetched.prepend(message) : prefetched.append(message)
    descriptors += message.receivedDescriptors
  }

  /// Notes that `count` descriptors were taken from the first message, with part of its bytes.
  fileprivate mutating func noteTaken(_ count: Int) {
    descriptors -= count
    assert(descriptors >= 0, "More descriptors were taken than had been received ahead")
  }

  fileprivate mutating func popPrefetched() -> Operation? {
    guard let message = prefetched.popFirst() else { return nil }
    noteTaken(message.receivedDescriptors)
    assert(hasPrefetched || descriptors == 0, "Descriptors were miscounted")
    return message
  }
}

extension OpenSocket {
  /// Whether a multishot receive is queued or in the kernel.
  var isArmed: Bool { multishot.armed != nil }

  /// Whether a receive must queue behind the prefetched messages. If not, it queues in `incoming`,
  /// with other single receives.
  var receivesBehindPrefetched: Bool {
    multishot.armed != nil || multishot.hasPrefetched && !isReceiving
  }

  /// The single receive that comes before the tasks waiting for prefetched messages.
  var receiveInFront: Operation? { incoming.active == multishot.armed ? nil : incoming.active }

  /// Whether messages may be received before a task asks for them.
  var mayReceiveAhead: Bool {
    core.canReceiveAhead(kind) && mayShareBuffers && multishot.window.permitsReadAhead
      && !hasNoEndOfItsOwn && !isDraining && policy?.permitsReceivingAhead ?? true
  }

  func setWindow(_ window: ReceiveWindow) {
    if window == multishot.window { return }
    multishot.window = window
    limitReceivingAhead()
  }

  /// Stops the multishot receive if the policy or the window no longer permits it. It may bring
  /// messages until it has ended.
  func limitReceivingAhead() {
    if let armed = multishot.armed, multishot.isFull || !mayReceiveAhead {
      core.stop(armed, .windowFull)
    }
  }

  /// Waits for the next message of the multishot receive, and arms that if necessary.
  func waitForMessage(copying: Bool = false, room: Int = .max) -> Operation {
    let waiter = core.makeOperation(.waitForMessage(copying: copying, room: room), socket: self)
    multishot.addWaiter(waiter)
    waiter.noteStart()
    armIfNeeded()
    // The loop has ended, so no message will come.
    if !core.isRunning { core.stop(waiter, core.endReason) }
    return waiter
  }

  private func armIfNeeded() {
    guard multishot.armed == nil, multishot.pauses == 0, multishot.hasWaiters, isOpen,
      core.isRunning
    else { return }
    guard mayReceiveAhead, pendingErrors.isEmpty else { return receiveForWaiters() }
    let operation = core.makeOperation(.receiveAhead, socket: self)
    operation.prepareReceiveAhead()
    multishot.armed = operation
    core.statistics.multishotStarts += 1
    isReceivingAhead = true
    start(operation)
  }

  /// Lets each waiting task receive one message by itself, without receiving ahead.
  private func receiveForWaiters() {
    let flags = receiveFlags(0)
    while let waiter = multishot.popWaiter() {
      guard case .waitForMessage(let copying, let room) = waiter.request else {
        preconditionFailure("Not a waiter")
      }
      waiter.request = core.receiveRequest(flags: copying ? flags | cms_msg_peek : flags)
      // SAFETY: `into` is nil, so there is no caller's memory to keep alive.
      unsafe waiter.prepareReceive(into: nil, room: room)
      if case .receive = waiter.request, core.acquiresReceiveMemoryEarly {
        waiter.acquireReceiveMemory()
      }
      start(waiter)
    }
  }

  /// Delivers a message to the first waiting task. If none waits, keeps the message behind or in
  /// front of the other prefetched ones.
  fileprivate func deliver(_ outcome: consuming OperationOutcome, inFront: Bool = false) {
    // No task can ask for the message; its descriptors close here.
    if isHandleReleased { return outcome.discard() }
    var inFront = inFront
    while let waiter = multishot.popWaiter() {
      guard case .waitForMessage(let copying, let room) = waiter.request else {
        preconditionFailure("Not a waiter")
      }
      sameTurn.note(waiter.wasStartedInThisTurn)
      if copying {
        core.finishWaiter(waiter, copy(outcome, room: room))
      } else if kind == .stream, outcome.unreadCount > room {
        core.finishWaiter(waiter, outcome.takeFront(room))
        // Decided here and not when the waiter's task runs, because the rest comes before later
        // bytes.
        inFront = true
      } else {
        if cut(&outcome, to: room) { noteLoss(&outcome) }
        return core.finishWaiter(waiter, outcome)
      }
    }
    multishot.keep(core.makeMessage(outcome), inFront: inFront)
    isReceivingAhead = true
    if multishot.isFull || policy?.hasTooManyUnclosed ?? false, let armed = multishot.armed {
      core.stop(armed, .windowFull)
    }
  }

  /// Handles the end of the multishot receive, whose operation has left the queue.
  fileprivate func receiveAheadEnded(_ errno: Errno?) {
    multishot.armed = nil
    core.statistics.multishotEnds += 1
    switch errno {
    // Ended on request or by the kernel's own limits (no free buffer, completion overflow), with
    // nothing lost.
    case nil, .canceled, .interrupted, .noBufferSpace: break
    case let errno? where keepsBehindMessages(errno): break
    case let errno?:
      var outcome = OperationOutcome()
      outcome.errno = errno
      deliver(outcome)
    }
    if hasNoEndOfItsOwn { stopWaiters(.receivingEnded) }
    if !isOpen || !core.isRunning { stopWaiters(isOpen ? core.endReason : .socketClosed) }
    // With fewer buffers than busy sockets, most sockets would arm in vain, again and again.
    if errno == .noBufferSpace { receiveForWaiters() } else { armIfNeeded() }
    if multishot.isIdle { isReceivingAhead = false }
    signalDisarmed()
  }

  func stopWaiters(_ reason: StopReason) {
    while let waiter = multishot.popWaiter() { core.stop(waiter, reason) }
  }

  // MARK: Releasing

  /// Returns an event to wait for until the multishot receive, which was stopped, has ended.
  func waitUntilDisarmed() -> Operation {
    let disarmed = core.makeEvent()
    disarmers.append(disarmed.id)
    return disarmed
  }

  /// Signals that the multishot receive has ended.
  private func signalDisarmed() {
    let waiting = disarmers
    disarmers = []
    for id in waiting { core.signal(id) }
  }

  /// Stops receiving ahead until ``resumeReceivingAhead()``. Tasks that wait for messages continue
  /// to wait.
  func pauseReceivingAhead() {
    multishot.pauses += 1
    if let armed = multishot.armed { core.stop(armed, .windowFull) }
  }

  func resumeReceivingAhead() {
    multishot.pauses -= 1
    armIfNeeded()
  }

  /// Handles the release of the socket's handle: no task can ask for messages.
  func handleReleased() {
    isHandleReleased = true
    if let armed = multishot.armed { core.stop(armed, .socketClosed) }
    discardPrefetched()
  }
}

extension LoopCore {
  /// Handles a completion of a multishot receive: a message, the receive's end, or both.
  func completeReceiveAhead(_ operation: Operation, _ completion: cms_completion) {
    if completion.flags & cms_completion_buffer != 0 {
      // The operation has not ended yet, so it holds the socket.
      operation.withSocket { take(message(of: operation, in: completion), on: $0) }
    }
    if completion.flags & cms_completion_more != 0 { return }
    operation.life.finish()
    leaveKernel()
    endReceiveAhead(operation, completion.result < 0 ? Errno(rawValue: -completion.result) : nil)
  }

  private func take(_ outcome: consuming OperationOutcome, on socket: OpenSocket) {
    outcome.noteEnd(on: socket.kind)
    if let policy = socket.policy { policy.evaluate(&outcome) }
    socket.noteLoss(&outcome)
    countReceived(outcome, byteCount: outcome.byteCount)
    socket.deliver(outcome)
  }

  /// Ends the multishot receive, which no task awaits, and tells its socket.
  func endReceiveAhead(_ operation: Operation, _ errno: Errno?) {
    let socket = operation.socket!
    socket.leave(operation)
    // If it was stopped before it was submitted, it has an errno, which must not leak into the
    // slot's next use.
    operation.outcome = OperationOutcome()
    operation.recycle(on: self)
    socket.receiveAheadEnded(errno)
  }

  fileprivate func canReceiveAhead(_ kind: SocketKind) -> Bool {
    receiveBuffers != nil && (kind != .stream || receivesStreamsAhead)
  }
}

// Results that go back to the front of the prefetched messages: bytes that were not used, and an
// end or an error that a receive found but does not report. While there are such results, no
// receive goes to the kernel, which holds only later data.

extension OpenSocket {
  /// Puts back the piece that was last received from the stream. The next receive gets it, or the
  /// one that waits.
  func unread(_ piece: consuming OperationOutcome) {
    guard isOpen else { return piece.discard() }
    guard let receive = receiveInFront else { return deliver(piece, inFront: true) }
    keep(piece, inFront: true)
    // The receive waits in the kernel for later bytes. When it has ended, it takes these.
    core.stop(receive, .bytesUnread)
  }

  private func keep(_ outcome: consuming OperationOutcome, inFront: Bool) {
    multishot.keep(core.makeMessage(outcome), inFront: inFront)
    isReceivingAhead = true
  }

  /// Called when a receive has ended after bytes were put back during its time in the kernel: the
  /// bytes come first, and the receive's own result follows them.
  func putInOrder(_ operation: Operation) {
    guard operation.request.receivesMessages else { return }
    switch operation.outcome.errno {
    case .canceled where operation.life.stopReason != .bytesUnread: return
    case .canceled, .wouldBlock: break
    // The kernel reports an error only once, even to a peek.
    case nil where operation.request.isPeek: operation.takeOutcome().discard()
    default: keep(operation.takeBroughtOutcome(), inFront: false)
    }
    operation.outcome = nextPrefetched(for: operation)!
  }

  /// The message that a receive finds here when its turn comes; nil if it must go to the kernel.
  func prefetchedOutcome(for operation: Operation) -> OperationOutcome? {
    operation.request.receivesMessages && multishot.hasPrefetched
      ? nextPrefetched(for: operation) : nil
  }

  private func nextPrefetched(for operation: Operation) -> OperationOutcome? {
    operation.request.isPeek
      ? copyPrefetched(room: operation.receiveRoom) : takePrefetched(room: operation.receiveRoom)
  }

  /// Keeps an end, an error or an incomplete message that a try has found. A try reports none of
  /// these; the next receive finds them, even one that already waits.
  func keepFailure(of operation: Operation) {
    if operation.outcome.isMessage && !operation.outcome.throwsLoss
      || operation.outcome.errno == .wouldBlock
      || operation.outcome.errno == .canceled
    {
      return
    }
    keep(operation.takeOutcome(), inFront: true)
    operation.outcome.errno = .wouldBlock
  }

  /// Delivers prefetched messages to waiting tasks, now that no single receive comes before them.
  func serveWaiters() {
    while multishot.hasWaiters, receiveInFront == nil, let outcome = takePrefetched() {
      deliver(outcome, inFront: true)
    }
  }
}

extension OpenSocket {
  /// Takes the next prefetched message, or at most `room` bytes of it; nil if there is none.
  private func takePrefetched(room: Int = .max) -> OperationOutcome? {
    guard let message = popPrefetched(room: room) else { return nil }
    let outcome = message.takeOutcome()
    message.recycle(on: core)
    return outcome
  }

  /// Takes the next prefetched message as an operation that has ended.
  private func popPrefetched(room: Int) -> Operation? {
    guard let first = multishot.firstPrefetched else { return nil }
    if kind == .stream, first.outcome.unreadCount > room {
      let front = first.outcome.takeFront(room)
      multishot.noteTaken(front.descriptors.count)
      return core.makeMessage(front)
    }
    _ = multishot.popPrefetched()
    if cut(&first.outcome, to: room) { noteLoss(&first.outcome) }
    if multishot.isIdle { isReceivingAhead = false }
    return first
  }

  /// Copies the next prefetched message, or at most `room` bytes of it. The message itself stays.
  private func copyPrefetched(room: Int = .max) -> OperationOutcome? {
    guard let first = multishot.firstPrefetched else { return nil }
    return copy(first.outcome, room: room)
  }

  private func copy(_ outcome: borrowing OperationOutcome, room: Int) -> OperationOutcome {
    var copy = outcome.copy(room: kind == .stream ? room : .max)
    core.noteReceived(copy.descriptors.count)
    // Truncating a copy loses nothing.
    _ = cut(&copy, to: room)
    return copy
  }

  /// The next prefetched message, or a copy of it, for a new receive. Nil if there is none or other
  /// receives come first.
  func nextPrefetched(copying: Bool, room: Int) -> Operation? {
    guard isPrefetchedNext else { return nil }
    guard copying else { return popPrefetched(room: room) }
    guard let copy = copyPrefetched(room: room) else { return nil }
    return core.makeMessage(copy)
  }

  /// Whether a new receive would get a prefetched message.
  var isPrefetchedNext: Bool { multishot.hasPrefetched && receiveInFront == nil }

  /// Whether the next prefetched result is a message that will not throw, not the end or an error.
  var hasPrefetchedMessage: Bool {
    multishot.firstPrefetched.map { $0.isMessage && !$0.outcome.throwsLoss } ?? false
  }

  func discardPrefetched() {
    while let message = multishot.popPrefetched() { message.discard(on: core) }
  }

  /// Truncates a prefetched message that does not fit into the caller's memory, as the kernel
  /// would.
  private func cut(_ outcome: inout OperationOutcome, to room: Int) -> Bool {
    guard kind != .stream, outcome.payload.count > room else { return false }
    outcome.cut(to: room)
    return true
  }
}

extension ReceiveWindow {
  /// Whether any single message fits into the window, so that receiving ahead is possible at all.
  fileprivate var permitsReadAhead: Bool { descriptors >= ControlMessages.maximumDescriptors }
}
