// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import Synchronization
internal import SystemPackage

/// The loop's side of a socket: the descriptor, one queue of operations for each direction, and the
/// messages received ahead.
///
/// `@unchecked Sendable`: apart from what is constant and from ``isReceivingAhead`` all members are
/// used on the loop's thread only.
final class OpenSocket: @unchecked Sendable {
  let kind: SocketKind
  /// Whether received messages are to say where they came from.
  let namesSenders: Bool
  /// SAFETY: the core outlives the loop's handle and its thread, one of which holds whoever holds
  /// this object.
  let core: LoopCore
  /// The descriptor's number. Means nothing once the socket is closed.
  let number: Int32

  /// Closed when this object ends, or by ``startClosing()``, in both cases after the last
  /// operation: operations hold this object.
  private var descriptor: OwnedFd?
  /// Whether others than peers that are trusted can have left descriptors in the socket, which
  /// close with it: then it is closed by another thread.
  private let hasUntrustedPeers: Bool
  /// Another thread has the descriptor, and has not closed it yet.
  private var isBeingClosed = false
  /// Removed as soon as the socket is closed for use, and before the descriptor is closed.
  private var file: BoundFile?
  @safe @exclusivity(unchecked) private var outgoing = OperationQueue()
  @safe @exclusivity(unchecked) private(set) var incoming = OperationQueue()
  /// Receives from the error queue (`MSG_ERRQUEUE`), which messages do not pass.
  @safe @exclusivity(unchecked) private var errors = OperationQueue()
  /// Receives of out-of-band bytes (`MSG_OOB`), which are apart from the others.
  @safe @exclusivity(unchecked) private var urgent = OperationQueue()
  private var closers: [OperationID] = []
  /// Who waits until nothing is received ahead any more.
  private var disarmers: [OperationID] = []
  @safe @exclusivity(unchecked) private(set) var isOpen = true
  /// Who ends the socket wants its descriptor.
  private var isReleasing = false
  /// By this process, through this object.
  private(set) var isShutDownForReceiving = false
  /// The last receive took all there was, as far as the kernel tells (on Unix streams since 6.17):
  /// the next one probably waits. False until the first.
  @safe @exclusivity(unchecked) var wasEmptied = false
  @safe @exclusivity(unchecked) var answersInTurn = TurnHistory()
  /// The socket's handle is gone.
  var isAbandoned = false
  @safe @exclusivity(unchecked) var receiver = AheadReceiver()
  /// Nil: everything is admitted.
  @safe @exclusivity(unchecked) private(set) var policy: PolicyEnforcer?
  private let receivesAhead = Atomic(false)
  /// Unix datagrams: whether the peer is connected to this socket too, so that room in its queue is
  /// an event here. Nil for all other sockets.
  private var isConnectedBothWays: Bool?

  /// The readiness driver's; dropped before the descriptor is closed.
  var registration: EpollRegistration?

  init(
    adopting descriptor: consuming OwnedFd, file: consuming BoundFile?, kind: SocketKind,
    namesSenders: Bool, policy: ReceivePolicy,
    hasUntrustedPeers: Bool, core: LoopCore
  ) {
    self.kind = kind
    self.namesSenders = namesSenders
    self.hasUntrustedPeers = hasUntrustedPeers
    self.core = core
    number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    self.descriptor = consume descriptor
    self.file = consume file
    if kind == .datagram { isConnectedBothWays = Self.isConnectedBothWays(number) }
    setPolicy(policy)
  }

  deinit {
    file = nil
    registration = nil
    if closesElsewhere, let descriptor = descriptor.take() { ClosingQueue().close(descriptor) }
    // Messages are operations of the loop's table, which nobody would give back.
    assert(receiver.isIdle, "A socket ended with messages received ahead")
  }

  /// Whether a multishot receive is under way, or messages wait that it has brought. May be read on
  /// any thread.
  var isReceivingAhead: Bool {
    get { receivesAhead.load(ordering: .acquiring) }
    set { receivesAhead.store(newValue, ordering: .releasing) }
  }

  // MARK: Starting operations

  /// An operation of this socket's, ready to be filled.
  ///
  /// - Throws: `CancellationError` if the task is cancelled already, ``SocketError/Code/closed``,
  ///   ``SocketError/Code/loopShutDown``, ``SocketError/Code/loopFailed``.
  func makeOperation(_ request: OperationRequest, _ name: SocketError.Operation) throws -> Operation
  {
    try checkStart(name)
    return core.makeOperation(request, socket: self)
  }

  /// Throws what ``makeOperation(_:_:)`` throws.
  func checkStart(_ name: SocketError.Operation) throws {
    try checkUse(name)
    guard core.isRunning else { throw core.endError(name) }
  }

  func checkUse(_ name: SocketError.Operation) throws {
    precondition(core.isCurrent, "A socket was used outside its loop")
    if cms_task_is_cancelled() { throw CancellationError() }
    guard isOpen else { throw SocketError(.closed, name) }
    if let policy, policy.hasTooManyUnclosed, case .receive = name {
      throw SocketError(
        .policyViolated, name,
        detail: "\(policy.closing.count) descriptors of this peer wait to be closed")
    }
    // Messages that had been received ahead when the loop was shut down are still to be had.
    guard core.isRunning || !receiver.readAhead.isEmpty else { throw core.endError(name) }
  }

  /// Whether a receive, or an accept, is under way or waits for its turn.
  var isReceiving: Bool { !incoming.isEmpty }

  /// Whether a send may find the receiver's queue full, which the kernel does not wait for
  /// properly: see ``SendPause``.
  func mayFindReceiverFull(hasAddress: Bool) -> Bool {
    isConnectedBothWays.map { hasAddress || !$0 } ?? false
  }

  /// A Unix datagram socket gets another peer: one that need not know of it.
  func connectsElsewhere() { if isConnectedBothWays != nil { isConnectedBothWays = false } }

  private static func isConnectedBothWays(_ number: Int32) -> Bool? {
    var family: Int32 = 0
    var length: UInt32 = 4
    guard unsafe cms_get_option(number, 1, 39, &family, &length) == 0, family == cms_family_unix
    else { return nil }
    // Whoever is connected by an address has a peer with a name; that of a pair has none.
    do { return try AnySocketAddress.peer(of: number).map { $0.unix == .unnamed } ?? true } catch {
      return false
    }
  }

  /// Sends a filled operation on its way: to the kernel, or to the end of its queue.
  func start(_ operation: Operation) {
    if withQueue(of: operation, { $0.join(operation) }) {
      operation.withCore { $0.submit(operation) }
    }
  }

  /// An operation has ended: the next of its direction goes to the kernel.
  func leave(_ operation: Operation) {
    if case .waitForMessage = operation.request {
      receiver.removeWaiter(operation)
    } else {
      if !receiver.readAhead.isEmpty { putInOrder(operation) }
      if operation.isTry { keepFailure(of: operation) }
      var next = withQueue(of: operation) { $0.leave(operation) }
      while let receive = next, let outcome = messageAhead(for: receive) {
        core.finishWaiter(receive, outcome)
        next = withQueue(of: receive) { $0.leave(receive) }
      }
      if let next { core.submit(next) }
      if receiver.hasWaiters { serveWaiters() }
    }
    if !isOpen { finishClosing() }
  }

  private func withQueue<R>(of operation: Operation, _ body: (inout OperationQueue) -> R) -> R {
    switch operation.request {
    case .send, .pauseSending, .connect: body(&outgoing)
    case .receive(let flags) where flags & cms_msg_errqueue != 0: body(&errors)
    case .receive(let flags) where flags & cms_msg_oob != 0: body(&urgent)
    case .receive, .receiveWhenReadable, .receiveAhead, .accept: body(&incoming)
    case .waitForMessage, .event, .timer: preconditionFailure("Not an operation of the kernel's")
    }
  }

  // MARK: Policy

  /// Sets what peers may send from now on.
  func setPolicy(_ policy: ReceivePolicy) {
    // Left alone where the policy has nothing to say about it: it is also an option that the user
    // may have set.
    if policy.admitsDescriptors != self.policy?.policy.admitsDescriptors ?? true {
      setPassesDescriptors(policy.admitsDescriptors)
    }
    if let current = self.policy {
      // Messages that it has let through still count.
      current.policy = policy
    } else if !policy.isUnrestricted {
      self.policy = PolicyEnforcer(policy)
    }
  }

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

  /// `SO_PASSRIGHTS`; kernels and sockets that do not have it deliver, and the policy closes.
  private func setPassesDescriptors(_ enabled: Bool) {
    var value: Int32 = enabled ? 1 : 0
    _ = unsafe cms_set_option(number, 1, 83, &value, 4)
  }

  // MARK: Ending

  func shutdown(read: Bool, write: Bool) throws(SocketError) {
    precondition(core.isCurrent, "A socket was used outside its loop")
    guard isOpen else { throw SocketError(.closed, .shutdown) }
    let result = cms_shutdown(number, read, write)
    // A connection that the peer has closed already is shut down as well as can be.
    guard result >= 0 || -result == Errno.socketNotConnected.rawValue else {
      throw SocketError(result: result, .shutdown)
    }
    if read { endReceiving() }
    core.driver.socketWasShutDown(number)
  }

  private func endReceiving() {
    isShutDownForReceiving = true
    guard hasNoEndOfItsOwn else { return }
    stopWaiters(.receivingEnded)
    for operation in incoming.allFromTheBack { core.stop(operation, .receivingEnded) }
  }

  /// A datagram socket that was shut down for receiving: the kernel does not tell those who wait,
  /// and goes on answering `EAGAIN`.
  var hasNoEndOfItsOwn: Bool { kind == .datagram && isShutDownForReceiving }

  /// Stops all operations. Returns what to wait for until the descriptor is closed; nil if it is
  /// closed.
  func startClosing() -> Operation? {
    precondition(core.isCurrent, "A socket was used outside its loop")
    isOpen = false
    isReleasing = false
    file = nil
    stopOperations()
    guard descriptor != nil || isBeingClosed else { return nil }
    return waitForClosing()
  }

  /// Stops all operations. Returns what to wait for before the descriptor is taken; nil if nothing.
  func startReleasing() -> Operation? {
    precondition(core.isCurrent, "A socket was used outside its loop")
    isOpen = false
    isReleasing = true
    stopOperations()
    return isReleasing ? waitForClosing() : nil
  }

  /// The descriptor of a socket whose operations have ended; nil if messages received ahead are
  /// left: then the socket stays open. Also nil if it was closed meanwhile.
  func takeDescriptor() -> OwnedFd? {
    guard descriptor != nil, !isOpen else { return nil }
    registration = nil
    if let file = file.take() { file.keep() }
    return descriptor.take()
  }

  private func stopOperations() {
    stopWaiters(.socketClosed)
    for queue in [outgoing, incoming, errors, urgent] {
      for operation in queue.allFromTheBack { core.stop(operation, .socketClosed) }
    }
    finishClosing()
  }

  private func waitForClosing() -> Operation {
    let closed = core.makeEvent()
    closers.append(closed.id)
    if isBeingClosed { core.addDeadline(LoopTime(after: Self.patience), to: closed) }
    return closed
  }

  private func finishClosing() {
    guard outgoing.isEmpty, incoming.isEmpty, errors.isEmpty, urgent.isEmpty, !isBeingClosed else {
      return
    }
    if isReleasing {
      isReleasing = false
      isOpen = receiver.readAhead.hasMessage
      // The end is found again by whoever has the descriptor then.
      if !isOpen { discardReceivedAhead() }
    } else {
      discardReceivedAhead()
      registration = nil
      if closesElsewhere, let descriptor = descriptor.take() { return closeElsewhere(descriptor) }
      descriptor = nil
    }
    signalClosers()
  }

  private func signalClosers() {
    let waiting = closers
    closers = []
    for closer in waiting { core.signal(closer) }
  }

  // MARK: Closing elsewhere

  /// How long ``SocketChannel/close()`` waits for another thread to close the descriptor. Almost
  /// always that takes microseconds, and the address is free then; but peers decide what is left in
  /// the socket, and must not decide how long somebody waits for it.
  private static let patience = Duration.seconds(1)

  /// Messages that nobody has received close with the socket, and so do the connections that wait
  /// in a listener, with theirs.
  private var closesElsewhere: Bool { policy != nil || hasUntrustedPeers }

  /// In a queue of its own: what the socket's messages have brought may be held up.
  private func closeElsewhere(_ descriptor: consuming OwnedFd) {
    isBeingClosed = true
    let deadline = LoopTime(after: Self.patience)
    for closer in closers { core.addDeadline(deadline, to: closer) }
    ClosingQueue(whenEmpty: { [weak self, inbox = core.inbox] in
      inbox.send(.closed { [weak self] in self })
    }).close(descriptor)
  }

  /// Another thread has closed the descriptor.
  func wasClosed() {
    isBeingClosed = false
    signalClosers()
  }
}
