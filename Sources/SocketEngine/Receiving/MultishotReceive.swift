// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import DequeModule
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

/// The multishot receive of a socket, and who gets what it brings: tasks that wait first, in order,
/// and then the messages that were received ahead of demand, within a window. Each of these is an
/// operation that is done and that no task awaits: its outcome owns the message.
struct MultishotReceive {
  /// The request, queued or in the kernel.
  var armed: Operation?
  /// How many calls are about to release the socket: nothing is armed meanwhile.
  var pauses = 0 {
    didSet { assert(pauses >= 0, "A release of a socket has ended twice") }
  }
  var window = ReceiveWindow()
  private var waiters = OperationLine()
  private var prefetched: Deque<Operation> = []
  /// How many descriptors the prefetched messages hold.
  private var descriptors = 0

  init() {}

  var isIdle: Bool { armed == nil && prefetched.isEmpty }
  var isFull: Bool { prefetched.count >= window.messages || descriptors >= window.descriptors }

  // MARK: Waiting tasks

  var hasWaiters: Bool { !waiters.isEmpty }
  /// The tasks that wait no longer than until the socket drains.
  var waitersUntilDraining: [Operation] { waiters.all.filter(\.endsWithDraining) }

  mutating func addWaiter(_ waiter: Operation) { waiters.append(waiter) }
  mutating func popWaiter() -> Operation? { waiters.popFirst() }
  mutating func removeWaiter(_ waiter: Operation) { waiters.remove(waiter) }

  // MARK: Messages received ahead

  var hasPrefetched: Bool { !prefetched.isEmpty }
  var firstPrefetched: Operation? { prefetched.first }
  /// Whether there is more than the end or errors.
  var hasPrefetchedMessage: Bool { prefetched.contains { $0.isMessage } }

  mutating func keep(_ message: Operation, inFront: Bool) {
    assert(message.life.state == .done, "A message that has not arrived is kept")
    inFront ? prefetched.prepend(message) : prefetched.append(message)
    descriptors += message.receivedDescriptors
  }

  /// So many descriptors were taken from the first message, with a part of its bytes.
  mutating func noteTaken(_ count: Int) {
    descriptors -= count
    assert(descriptors >= 0, "More descriptors were taken than had been received ahead")
  }

  mutating func popPrefetched() -> Operation? {
    guard let message = prefetched.popFirst() else { return nil }
    noteTaken(message.receivedDescriptors)
    assert(hasPrefetched || descriptors == 0, "Descriptors were miscounted")
    return message
  }
}

extension OpenSocket {
  /// Whether a multishot receive is queued or in the kernel.
  var isArmed: Bool { multishot.armed != nil }

  /// Whether a receive must take its turn with the messages received ahead. If not, it stands in
  /// the queue, behind others that do not.
  var receivesBehindPrefetched: Bool {
    multishot.armed != nil || multishot.hasPrefetched && !isReceiving
  }

  /// The receive of a single message that comes before those that wait for messages received ahead.
  var receiveInFront: Operation? { incoming.active == multishot.armed ? nil : incoming.active }

  /// Whether more than is asked for may be received.
  var mayReceiveAhead: Bool {
    core.canReceiveAhead(kind) && mayShareBuffers && multishot.window.permitsReadAhead
      && !hasNoEndOfItsOwn && !isDraining && policy?.permitsReceivingAhead ?? true
  }

  func setWindow(_ window: ReceiveWindow) {
    if window == multishot.window { return }
    multishot.window = window
    limitReceivingAhead()
  }

  /// Stops the multishot receive if the policy or the window does not permit it any more. It may
  /// still bring messages until it has ended.
  func limitReceivingAhead() {
    if let armed = multishot.armed, multishot.isFull || !mayReceiveAhead {
      core.stop(armed, .windowFull)
    }
  }

  /// Waits for the next message of the multishot receive, which is armed for it if need be.
  func waitForMessage(copying: Bool = false, room: Int = .max) -> Operation {
    let waiter = core.makeOperation(.waitForMessage(copying: copying, room: room), socket: self)
    multishot.addWaiter(waiter)
    waiter.noteStart()
    armIfNeeded()
    // What it could have waited for does not come any more.
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

  /// Each task that waits receives a message of its own, and nothing ahead.
  private func receiveForWaiters() {
    let flags = receiveFlags(0)
    while let waiter = multishot.popWaiter() {
      guard case .waitForMessage(let copying, let room) = waiter.request else {
        preconditionFailure("Not a waiter")
      }
      waiter.request = core.receiveRequest(flags: copying ? flags | cms_msg_peek : flags)
      // SAFETY: without memory of the caller's there is nothing to keep.
      unsafe waiter.prepareReceive(into: nil, room: room)
      if case .receive = waiter.request, core.acquiresReceiveMemoryEarly {
        waiter.acquireReceiveMemory()
      }
      start(waiter)
    }
  }

  /// A message has come: the first waiting task gets it, or it is kept, behind the others or in
  /// front of them.
  func deliver(_ outcome: consuming OperationOutcome, inFront: Bool = false) {
    // Nobody can ask for it any more; what it carries closes here.
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
        // Here and not when the waiter's task runs: the rest goes before what comes next.
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

  /// The multishot receive has had its final completion. Its operation has left the queue.
  func receiveAheadEnded(_ errno: Errno?) {
    multishot.armed = nil
    core.statistics.multishotEnds += 1
    switch errno {
    // Ended on request; or by the kernel's own limits (no buffer was free, completions overflowed),
    // with nothing lost.
    case nil, .canceled, .interrupted, .noBufferSpace: break
    case let errno? where keepsBehindMessages(errno): break
    case let errno?:
      var outcome = OperationOutcome()
      outcome.errno = errno
      deliver(outcome)
    }
    if hasNoEndOfItsOwn { stopWaiters(.receivingEnded) }
    if !isOpen || !core.isRunning { stopWaiters(isOpen ? core.endReason : .socketClosed) }
    // With fewer buffers than busy sockets most would be armed in vain, again and again.
    if errno == .noBufferSpace { receiveForWaiters() } else { armIfNeeded() }
    if multishot.isIdle { isReceivingAhead = false }
    signalDisarmed()
  }

  func stopWaiters(_ reason: StopReason) {
    while let waiter = multishot.popWaiter() { core.stop(waiter, reason) }
  }

  // MARK: Releasing

  /// What to wait for until the multishot receive, which has been stopped, has ended.
  func waitUntilDisarmed() -> Operation {
    let disarmed = core.makeEvent()
    disarmers.append(disarmed.id)
    return disarmed
  }

  /// The multishot receive has ended.
  func signalDisarmed() {
    let waiting = disarmers
    disarmers = []
    for id in waiting { core.signal(id) }
  }

  /// Nothing is received ahead any more until ``resumeReceivingAhead()``. Those that wait for
  /// messages go on waiting.
  func pauseReceivingAhead() {
    multishot.pauses += 1
    if let armed = multishot.armed { core.stop(armed, .windowFull) }
  }

  func resumeReceivingAhead() {
    multishot.pauses -= 1
    armIfNeeded()
  }

  /// The socket's handle is gone: nobody will ask for messages.
  func handleReleased() {
    isHandleReleased = true
    if let armed = multishot.armed { core.stop(armed, .socketClosed) }
    discardPrefetched()
  }
}

extension LoopCore {
  /// A message of a multishot receive, or its end, or both.
  func completeReceiveAhead(_ operation: Operation, _ completion: cms_completion) {
    if completion.flags & cms_completion_buffer != 0 {
      // The operation, which has not ended yet, holds the socket.
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

  /// The multishot receive is over: no task awaits it, its socket is told.
  func endReceiveAhead(_ operation: Operation, _ errno: Errno?) {
    let socket = operation.socket!
    socket.leave(operation)
    // Stopped before it was submitted it has an errno, which the slot's next use must not find.
    operation.outcome = OperationOutcome()
    operation.recycle(on: self)
    socket.receiveAheadEnded(errno)
  }

  /// A waiting task gets a message.
  func finishWaiter(_ waiter: Operation, _ outcome: consuming OperationOutcome) {
    waiter.life.submit()
    waiter.life.finish()
    waiter.outcome = outcome
    waiter.resumeTask(on: self)
  }

  /// A message that no task waits for yet, as an operation that is done.
  func makeMessage(_ outcome: consuming OperationOutcome) -> Operation {
    let message = makeOperation(.waitForMessage(copying: false, room: 0), socket: nil)
    message.life.submit()
    message.life.finish()
    message.outcome = outcome
    return message
  }

  func canReceiveAhead(_ kind: SocketKind) -> Bool {
    receiveBuffers != nil && (kind != .stream || receivesStreamsAhead)
  }
}
