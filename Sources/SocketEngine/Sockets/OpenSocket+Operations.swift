// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import DequeModule

// How a socket's operations start and leave, and the queues in which they wait for their turn.

extension OpenSocket {
  /// Returns an operation of this socket, ready to be filled.
  func makeOperation(_ request: OperationRequest, _ name: SocketError.Operation) throws -> Operation
  {
    try checkStart(name)
    return core.makeOperation(request, socket: self)
  }

  /// Throws the errors of ``makeOperation(_:_:)``.
  func checkStart(_ name: SocketError.Operation) throws {
    try checkUse(name)
    guard core.isRunning else { throw core.endError(name) }
  }

  func checkUse(_ name: SocketError.Operation) throws {
    precondition(core.isCurrent, "A socket was used outside its loop")
    if cms_task_is_cancelled() { throw CancelledCalls.error(of: name) }
    guard isOpen else { throw SocketError(.closed, name) }
    if let policy, policy.hasTooManyUnclosed, case .receive = name {
      let counts =
        "\(policy.closing.count) descriptors of this peer, \(ClosingService.shared.count) in all,"
      throw SocketError(.policyViolated, name, detail: "\(counts) wait to be closed")
    }
    // Prefetched messages can still be received after the loop was shut down.
    guard core.isRunning || multishot.hasPrefetched else { throw core.endError(name) }
  }

  /// Whether a receive that is about to be submitted probably comes before its message.
  ///
  /// - Parameter kernelTells: Whether the kernel reports if a stream was emptied.
  func expectsToWait(kernelTells: Bool) -> Bool {
    isKnownEmpty && (kernelTells && kind == .stream || waits.isLikely)
  }

  /// Whether a receive or an accept is in progress or queued.
  var isReceiving: Bool { !incoming.isEmpty }

  /// How a send backs off if it finds no room; nil if the kernel waits correctly, or if the send
  /// does not wait (`MSG_DONTWAIT`). See ``SendBackoff``.
  func sendBackoff(hasAddress: Bool, _ flags: Int32) -> SendBackoff? {
    // A message that may have been sent in part is not sent again.
    let isNeeded =
      isConnectedBothWays.map { hasAddress || !$0 } ?? (missesShutdowns && !cutsMessages)
    return isNeeded && flags & cms_msg_dontwait == 0 ? .first : nil
  }

  /// The flags with which a receive goes to the kernel.
  ///
  /// `MSG_TRUNC` makes the kernel report the full length of a message that is longer than the
  /// buffer. It is never set on a stream, where it would discard bytes and count bytes that were
  /// not written (tcp(7)).
  func receiveFlags(_ flags: Int32) -> Int32 {
    let flags = flags | cms_msg_cmsg_cloexec | (hasNoEndOfItsOwn ? cms_msg_dontwait : 0)
    return tellsLengths ? flags | cms_msg_trunc : flags & ~cms_msg_trunc
  }

  /// Starts a filled operation: submits it, or queues it behind others of its direction.
  func start(_ operation: Operation) {
    switch operation.request {
    case .send:
      waits.noteSend()
      sendsInARow = min(sendsInARow + 1, 2)
    default: sendsInARow = 0
    }
    if withQueue(of: operation, { $0.join(operation) }) {
      submit(operation)
    } else if case .send = operation.request {
      // Several tasks send; they take turns through the ring.
      sendsInARow = 0
    }
  }

  /// Notes that an operation has ended; submits the next one of its direction.
  func leave(_ operation: Operation) {
    if case .waitForMessage = operation.request {
      multishot.removeWaiter(operation)
    } else {
      if multishot.hasPrefetched { putInOrder(operation) }
      if operation.isTry { keepFailure(of: operation) }
      if let next = withQueue(of: operation, { $0.leave(operation) }) { submit(next) }
      if multishot.hasWaiters { serveWaiters() }
    }
    if !isOpen { finishClosing() }
  }

  /// Submits an operation whose turn has come. If its result is already known, finishes it and
  /// continues with the next one.
  private func submit(_ operation: Operation) {
    var next = operation
    while let outcome = prefetchedOutcome(for: next) ?? pendingErrors.takeDue(for: next) {
      core.finishWaiter(next, outcome)
      guard let following = withQueue(of: next, { $0.leave(next) }) else { return }
      next = following
    }
    if pendingErrors.isEmpty || next.goesBehindErrors() { next.withCore { $0.submit(next) } }
  }

  private func withQueue<R>(of operation: Operation, _ body: (inout OperationQueue) -> R) -> R {
    switch Direction(operation.request) {
    case .incoming: body(&incoming)
    case .errors: body(&errors)
    case .urgent: body(&urgent)
    case .outgoing: body(&outgoing)
    }
  }
}

/// Operations in a line, first come, first served.
///
/// An operation that ends while it waits is not searched for: its entry is skipped when its turn
/// comes, or dropped when such entries are the majority. So the cost of an operation does not
/// depend on how many others wait.
struct OperationLine {
  /// An entry in the line. The ID tells whether the slot has been reused when the entry is
  /// examined.
  private struct Entry {
    let operation: Operation
    let id: OperationID

    var waits: Bool { operation.id == id && operation.isInLine }
  }

  private var entries: Deque<Entry> = []
  /// How many operations wait.
  private(set) var count = 0

  init() {}

  var isEmpty: Bool { count == 0 }

  mutating func append(_ operation: Operation) {
    assert(!operation.isInLine, "An operation waits in two lines")
    operation.isInLine = true
    entries.append(Entry(operation: operation, id: operation.id))
    count += 1
  }

  mutating func popFirst() -> Operation? {
    while let entry = entries.popFirst() {
      entry.operation.withCore { $0.entriesSeen += 1 }
      guard entry.waits else { continue }
      entry.operation.isInLine = false
      count -= 1
      return entry.operation
    }
    assert(count == 0, "Operations were lost from a line")
    return nil
  }

  /// Removes an operation that has ended. Does nothing if its turn has already come.
  mutating func remove(_ operation: Operation) {
    guard operation.isInLine else { return }
    operation.isInLine = false
    count -= 1
    assert(count >= 0, "More operations have left a line than were in it")
    guard entries.count > 2 * count + 16 else { return }
    operation.withCore { $0.entriesSeen += entries.count }
    entries.removeAll { !$0.waits }
  }

  /// All waiting operations, in order.
  var all: [Operation] { entries.lazy.filter(\.waits).map(\.operation) }
}

/// Which of a socket's queues an operation belongs to, and so what it waits for.
enum Direction: Int, CaseIterable {
  /// Receives and accepts.
  case incoming
  /// Receives from the error queue (`MSG_ERRQUEUE`), which is separate from the messages.
  case errors
  /// Receives of out-of-band bytes (`MSG_OOB`), which are separate from the others.
  case urgent
  /// Sends and connects.
  case outgoing

  init(_ request: OperationRequest) {
    switch request {
    case .receive(let flags) where flags & cms_msg_errqueue != 0: self = .errors
    case .receive(let flags) where flags & cms_msg_oob != 0: self = .urgent
    case .pauseReceiving: self = .errors
    case .receive, .receiveWhenReadable, .receiveAhead, .accept, .acceptWhenReadable,
      .acceptAfterCancellation:
      self = .incoming
    case .send, .pauseSending, .connect, .awaitConnection: self = .outgoing
    case .waitForMessage, .event, .timer: preconditionFailure("Not an operation of the kernel's")
    }
  }
}

/// The operations of one direction of a socket. At most one of them is in the kernel, because
/// unlinked requests on one socket complete in no particular order.
struct OperationQueue {
  private(set) var active: Operation?
  private var waiting = OperationLine()

  init() {}

  var isEmpty: Bool { active == nil }

  /// Adds an operation. Returns true if its turn is now.
  mutating func join(_ operation: Operation) -> Bool {
    assert(
      operation.life.state == .queued && active != operation, "An operation joins its queue twice")
    guard active != nil else {
      active = operation
      return true
    }
    waiting.append(operation)
    return false
  }

  /// Removes an operation that has ended. If it was the active one, returns the next, whose turn it
  /// now is.
  mutating func leave(_ operation: Operation) -> Operation? {
    guard active == operation else {
      waiting.remove(operation)
      return nil
    }
    active = waiting.popFirst()
    return active
  }

  /// All operations: first the waiting ones in order, then the active one. If they are stopped in
  /// this order, none of them becomes active. It also matters for speed: a task group searches for
  /// each ended child starting from the oldest, so the reverse order would make ending thousands of
  /// children quadratic.
  var allWaitingFirst: [Operation] { waiting.all + (active.map { [$0] } ?? []) }
}

/// Predicts whether a socket's next receive comes before its message, where the kernel does not
/// report that more data waits: on sequential packets and datagrams, and on streams before Linux
/// 6.17.
struct WaitPredictor {
  private var hasWaited = false
  private var hasSent = false

  /// True if the last receive waited for more than a turn, or if something was sent since, so that
  /// the next message is probably the answer.
  var isLikely: Bool { hasWaited || hasSent }

  mutating func noteSend() { hasSent = true }

  mutating func noteReceive(inTurn: Bool) {
    hasWaited = !inTurn
    hasSent = false
  }
}

/// Predicts whether a socket's next message comes in the loop turn of its request, as when both
/// ends are on one busy loop. If so, a task waits for the end of the turn without a cancellation
/// handler, and registers one only if the message has not come (Docs/Decisions/0006).
struct SameTurnPredictor {
  private var inARow: UInt8 = 0

  /// A message that comes later costs an additional wait, so one message in time is not enough.
  var isLikely: Bool { inARow >= 2 }

  mutating func note(_ cameInTurn: Bool) { inARow = cameInTurn ? min(inARow + 1, 2) : 0 }
}
