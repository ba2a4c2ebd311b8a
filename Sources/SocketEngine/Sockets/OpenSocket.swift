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
  /// ```
  /// open ──close()────▶ closing ────▶ closed, or closingElsewhere ──▶ closed
  /// open ──release()──▶ releasing ──▶ released ──▶ closed
  ///                         └─messages are left──▶ open
  /// ```
  /// A release that has not ended is overtaken by `close()`.
  enum Phase {
    case open
    /// Its operations end; then the descriptor is given away, unless messages were received ahead.
    case releasing
    /// Its operations have ended, and its descriptor is about to be taken.
    case released
    /// Its operations end; then the descriptor closes.
    case closing
    /// Another thread has the descriptor, and has not closed it yet.
    case closingElsewhere
    /// The descriptor has closed, or was given away.
    case closed

    fileprivate func mayBecome(_ next: Phase) -> Bool {
      switch (self, next) {
      case (.open, .releasing), (.open, .closing), (.releasing, .open), (.releasing, .released),
        (.releasing, .closing),
        (.released, .closing), (.released, .closed), (.closing, .closing),
        (.closing, .closingElsewhere),
        (.closing, .closed), (.closingElsewhere, .closed), (.closed, .closed):
        true
      default: false
      }
    }
  }

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
  var descriptor: OwnedFd?
  /// Whether others than peers that are trusted can have left descriptors in the socket, which
  /// close with it: then it is closed by another thread.
  let hasUntrustedPeers: Bool
  /// Where it is closed by another thread.
  let closing: ClosingQueue
  /// Removed as soon as the socket is closed for use, and before the descriptor is closed.
  var file: SocketFile?
  /// Whose task it is to remove that file.
  let fileOwnership: SocketFileOwnership?
  @safe @exclusivity(unchecked) var outgoing = OperationQueue()
  @safe @exclusivity(unchecked) private(set) var incoming = OperationQueue()
  @safe @exclusivity(unchecked) var errors = OperationQueue()
  @safe @exclusivity(unchecked) var urgent = OperationQueue()
  var closers: [OperationID] = []
  /// Who waits until nothing is received ahead any more.
  var disarmers: [OperationID] = []
  /// How far the socket's end has come; see ``enter(_:)``.
  @safe @exclusivity(unchecked) private(set) var phase = Phase.open
  /// Whether the socket is in use, for any thread.
  private let isOpenForAll = Atomic(true)
  /// By this process, through this object.
  var isShutDownForReceiving = false
  /// The last receive took all there was, as far as the kernel tells (on Unix streams since 6.17):
  /// the next one probably waits. False until the first.
  @safe @exclusivity(unchecked) var isKnownEmpty = false
  @safe @exclusivity(unchecked) var waits = WaitPredictor()
  @safe @exclusivity(unchecked) var sameTurn = SameTurnPredictor()
  /// How many messages one task after the other has sent since a receive was asked for, at most 2.
  @safe @exclusivity(unchecked) var sendsInARow = 0
  /// The socket's handle is gone.
  var isHandleReleased = false
  @safe @exclusivity(unchecked) var multishot = MultishotReceive()
  /// Nil: everything is admitted.
  @safe @exclusivity(unchecked) private(set) var policy: PolicyEnforcer?
  /// Errors that the kernel has reported before messages that were queued.
  @safe @exclusivity(unchecked) var pendingErrors = PendingErrors()
  private let receivesAhead = Atomic(false)
  private let drains = Atomic(false)
  /// What the tasks wait for that wait until the socket drains.
  var drainWaits: Set<OperationID> = []
  /// Whether it may be received ahead for. Not where `ENOBUFS` may be the socket's own error, as
  /// the overrun of netlink(7): a multishot receive that finds no buffer says the same.
  private(set) var mayShareBuffers = true
  /// Whether receives are told how long messages were, where they were longer than the buffer.
  private let tellsLengths: Bool
  /// Unix datagrams: whether the peer is connected to this socket too, so that room in its queue is
  /// an event here. Nil for all other sockets.
  private var isConnectedBothWays: Bool?

  /// The epoll driver's; dropped before the descriptor is closed.
  var registration: EpollRegistration?
  /// The epoll driver's; dropped with the registration.
  var sharedAccepts = SharedAccepts()

  init(
    adopting descriptor: consuming OwnedFd, file: consuming SocketFile?, kind: SocketKind,
    namesSenders: Bool, policy: ReceivePolicy,
    closing: ClosingQueue, hasUntrustedPeers: Bool, core: LoopCore
  ) {
    self.kind = kind
    self.namesSenders = namesSenders
    self.closing = closing
    self.hasUntrustedPeers = hasUntrustedPeers
    self.core = core
    number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    // Not by what the caller says it is: bytes that nobody has received would be shown.
    tellsLengths = kind != .stream && Self.option(cms_so_type, of: number) != cms_socket_stream
    self.descriptor = consume descriptor
    fileOwnership = file?.ownership
    self.file = consume file
    if kind == .datagram {
      let family = Self.option(cms_so_domain, of: number)
      if family == cms_family_unix { isConnectedBothWays = Self.isConnectedBothWays(number) }
      mayShareBuffers = [cms_family_unix, cms_family_internet_v4, cms_family_internet_v6].contains(
        family)
    }
    setPolicy(policy)
  }

  deinit {
    file = nil
    registration = nil
    sharedAccepts = SharedAccepts()
    if closesElsewhere, let descriptor = descriptor.take() { closing.close(descriptor) }
    // Messages are operations of the loop's table, which nobody would give back.
    assert(multishot.isIdle, "A socket ended with messages received ahead")
  }

  /// The descriptor's number, and whether the socket is open; from any thread, and out of date at
  /// once.
  var descriptorText: String {
    isOpenForAll.load(ordering: .relaxed) ? "descriptor \(number)" : "closed"
  }

  /// Whether a multishot receive is under way, or messages wait that it has brought. May be read on
  /// any thread.
  var isReceivingAhead: Bool {
    get { receivesAhead.load(ordering: .acquiring) }
    set { receivesAhead.store(newValue, ordering: .releasing) }
  }

  /// Whether the socket is to be used for what has arrived, and then ended. Never false again. May
  /// be read on any thread.
  var isDraining: Bool { drains.load(ordering: .acquiring) }

  /// From any thread. False if the socket drains already.
  func markDraining() -> Bool { !drains.exchange(true, ordering: .acquiringAndReleasing) }

  var isOpen: Bool { phase == .open }

  /// The socket's end goes on; or a release is over that messages stood in the way of.
  func enter(_ next: Phase) {
    assert(phase.mayBecome(next), "A socket that was \(phase) is \(next)")
    phase = next
    isOpenForAll.store(next == .open, ordering: .relaxed)
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
    if cms_task_is_cancelled() { throw CancelledCalls.error(of: name) }
    guard isOpen else { throw SocketError(.closed, name) }
    if let policy, policy.hasTooManyUnclosed, case .receive = name {
      let counts =
        "\(policy.closing.count) descriptors of this peer, \(ClosingService.shared.count) in all,"
      throw SocketError(.policyViolated, name, detail: "\(counts) wait to be closed")
    }
    // Messages that had been received ahead when the loop was shut down are still to be had.
    guard core.isRunning || multishot.hasPrefetched else { throw core.endError(name) }
  }

  /// Whether a receive that is about to be submitted probably comes before its message.
  ///
  /// - Parameter kernelTells: The kernel says of streams whether they were emptied.
  func expectsToWait(kernelTells: Bool) -> Bool {
    isKnownEmpty && (kernelTells && kind == .stream || waits.isLikely)
  }

  /// Whether a receive, or an accept, is under way or waits for its turn.
  var isReceiving: Bool { !incoming.isEmpty }

  /// Whether a send may find the receiver's queue full, which the kernel does not wait for
  /// properly: see ``SendBackoff``.
  func mayFindReceiverFull(hasAddress: Bool) -> Bool {
    isConnectedBothWays.map { hasAddress || !$0 } ?? false
  }

  /// A Unix datagram socket gets another peer: one that need not know of it.
  func connectsElsewhere() { if isConnectedBothWays != nil { isConnectedBothWays = false } }

  private static func isConnectedBothWays(_ number: Int32) -> Bool {
    // Whoever is connected by an address has a peer with a name; that of a pair has none.
    do { return try AnySocketAddress.peer(of: number).map { $0.unix == .unnamed } ?? true } catch {
      return false
    }
  }

  private static func option(_ name: Int32, of number: Int32) -> Int32? {
    var value: Int32 = 0
    var length: UInt32 = 4
    // SAFETY: both are locals.
    let result = unsafe cms_get_option(number, cms_sol_socket, name, &value, &length)
    return result == 0 ? value : nil
  }

  /// The flags with which a receive goes to the kernel.
  ///
  /// A message that is longer than the buffer says how long it was (`MSG_TRUNC`). A stream of bytes
  /// is never asked: it would throw bytes away, and count those that it has not written (tcp(7)).
  func receiveFlags(_ flags: Int32) -> Int32 {
    let flags = flags | cms_msg_cmsg_cloexec | (hasNoEndOfItsOwn ? cms_msg_dontwait : 0)
    return tellsLengths ? flags | cms_msg_trunc : flags & ~cms_msg_trunc
  }

  /// Sends a filled operation on its way: to the kernel, or to the end of its queue.
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
      // Several tasks send: they take turns through the ring.
      sendsInARow = 0
    }
  }

  /// An operation has ended: the next of its direction goes to the kernel.
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

  /// Hands an operation whose turn has come to the kernel; or if there is something for it already,
  /// the next one.
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
      self.policy = PolicyEnforcer(
        policy, closing: ClosingQueue(group: closing.group, isSerial: true))
    }
  }

  /// `SO_PASSRIGHTS`; kernels and sockets that do not have it deliver, and the policy closes.
  private func setPassesDescriptors(_ enabled: Bool) {
    var value: Int32 = enabled ? 1 : 0
    _ = unsafe cms_set_option(number, cms_sol_socket, cms_so_passrights, &value, 4)
  }

}
