// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import Synchronization
internal import SystemPackage

/// The loop's side of a socket: the descriptor, one queue of operations for each direction, and the
/// prefetched messages.
///
/// `@unchecked Sendable`: except for constants, ``isReceivingAhead`` and other atomics, all members
/// are used only on the loop's thread.
final class OpenSocket: @unchecked Sendable {
  /// ```
  /// open ──close()────▶ closing ────▶ closed, or closingElsewhere ──▶ closed
  /// open ──release()──▶ releasing ──▶ released ──▶ closed
  ///                         └─messages are left──▶ open
  /// ```
  /// `close()` overrides a release that has not ended.
  enum Phase {
    case open
    /// The operations end; then the descriptor is given away, unless there are prefetched messages.
    case releasing
    /// The operations have ended, and the descriptor is about to be taken.
    case released
    /// The operations end; then the descriptor closes.
    case closing
    /// Another thread has the descriptor but has not closed it yet.
    case closingElsewhere
    /// The descriptor was closed or given away.
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
  /// Whether received messages must report their sender.
  let namesSenders: Bool
  /// SAFETY: the core outlives the loop's handle and its thread, and every holder of this object
  /// holds one of them.
  let core: LoopCore
  /// The descriptor's number; invalid once the socket is closed.
  let number: Int32

  /// Closed when this object ends or by ``startClosing()``; in both cases after the last operation,
  /// because operations hold this object.
  var descriptor: OwnedFd?
  /// Whether untrusted peers may have queued descriptors on this socket. Closing the socket closes
  /// those too, which can block, so another thread does it.
  let hasUntrustedPeers: Bool
  /// The queue for closing on another thread.
  let closing: ClosingQueue
  /// Removed as soon as the socket can no longer be used, before the descriptor is closed.
  var file: SocketFile?
  /// Which process removes that file.
  let fileOwnership: SocketFileOwnership?
  @safe @exclusivity(unchecked) var outgoing = OperationQueue()
  @safe @exclusivity(unchecked) var incoming = OperationQueue()
  @safe @exclusivity(unchecked) var errors = OperationQueue()
  @safe @exclusivity(unchecked) var urgent = OperationQueue()
  var closers: [OperationID] = []
  /// Events to signal when the multishot receive has ended.
  var disarmers: [OperationID] = []
  /// How far the socket's closing or release has come; see ``enter(_:)``.
  @safe @exclusivity(unchecked) private(set) var phase = Phase.open
  /// Whether the socket is open, readable on any thread.
  private let isOpenForAll = Atomic(true)
  /// Set by `shutdown(read:write:)` on this object only; a shutdown by another process is not seen.
  var isShutDownForReceiving = false
  /// Whether the last receive took everything, as far as the kernel reports it (on Unix streams
  /// since Linux 6.17), so that the next one probably waits. False until the first receive.
  @safe @exclusivity(unchecked) var isKnownEmpty = false
  @safe @exclusivity(unchecked) var waits = WaitPredictor()
  @safe @exclusivity(unchecked) var sameTurn = SameTurnPredictor()
  /// How many messages were sent in a row, each after the previous one had ended, without a receive
  /// in between; counted up to 2.
  @safe @exclusivity(unchecked) var sendsInARow = 0
  /// Whether the socket's handle was released.
  var isHandleReleased = false
  @safe @exclusivity(unchecked) var multishot = MultishotReceive()
  /// Nil if everything is admitted.
  @safe @exclusivity(unchecked) private(set) var policy: PolicyEnforcer?
  /// Errors that the kernel has reported before queued messages.
  @safe @exclusivity(unchecked) var pendingErrors = PendingErrors()
  private let receivesAhead = Atomic(false)
  private let drains = Atomic(false)
  /// Operations of the tasks that wait until the socket drains.
  var drainWaits: Set<OperationID> = []
  /// Whether the socket may receive ahead. Not if `ENOBUFS` may be the socket's own error, such as
  /// the overrun of netlink(7): a multishot receive that finds no buffer fails with `ENOBUFS` too.
  private(set) var mayShareBuffers = true
  /// Whether receives ask for the full length of messages that are longer than the buffer.
  let tellsLengths: Bool
  /// For Unix datagrams: whether the peer is connected to this socket too, so that room in its
  /// queue raises an event here. Nil for all other sockets.
  private(set) var isConnectedBothWays: Bool?
  /// Whether nothing wakes a send that waits for room when the connection's direction is shut down:
  /// on Unix and vsock sockets, with io_uring before Linux 6.0 (seen on 5.10 with the io_uring of
  /// 5.15).
  let missesShutdowns: Bool
  /// Whether this is a vsock socket, which carries neither control messages nor empty messages.
  let isVsock: Bool
  /// Whether the kernel may send a part of a message and not say so, as on sequential packets of
  /// vsock: a send that finds some room but not enough sends what fits and returns `EAGAIN`. See
  /// `OpenSocket+CutMessages.swift`.
  let cutsMessages: Bool

  /// The epoll driver's registration, dropped before the descriptor is closed.
  var registration: EpollRegistration?
  /// State of the epoll driver's accepts, dropped with the registration.
  var sharedAccepts = SharedAccepts()

  init(
    adopting descriptor: consuming OwnedFd, file: consuming SocketFile?, kind: SocketKind,
    namesSenders: Bool, policy: ReceivePolicy,
    closing: ClosingQueue, hasUntrustedPeers: Bool, isVsock: Bool, core: LoopCore
  ) {
    self.kind = kind
    self.isVsock = isVsock
    cutsMessages = isVsock && kind == .seqpacket
    self.namesSenders = namesSenders
    self.closing = closing
    self.hasUntrustedPeers = hasUntrustedPeers
    self.core = core
    number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    // Checked by the socket's type and not by the caller's `kind`: on a stream, MSG_TRUNC would
    // discard bytes.
    tellsLengths = kind != .stream && Self.option(cms_so_type, of: number) != cms_socket_stream
    missesShutdowns =
      kind != .datagram && core.driverInUse?.isRingWithoutMultishot == true
      && (isVsock || Self.option(cms_so_domain, of: number) == cms_family_unix)
    if cutsMessages { Self.neverRestartSends(on: number) }
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
    core.openSockets.add(1)
  }

  deinit {
    if phase != .closed { core.openSockets.add(-1) }
    file = nil
    registration = nil
    sharedAccepts = SharedAccepts()
    if closesElsewhere, let descriptor = descriptor.take() { closing.close(descriptor) }
    // Messages are operations in the loop's table, and nothing would return them.
    assert(multishot.isIdle, "A socket ended with messages received ahead")
  }

  /// The descriptor's number, or that the socket is closed. Callable from any thread; may be
  /// outdated immediately.
  var descriptorText: String {
    isOpenForAll.load(ordering: .relaxed) ? "descriptor \(number)" : "closed"
  }

  /// Whether a multishot receive is in progress or prefetched messages wait. Readable on any
  /// thread.
  var isReceivingAhead: Bool {
    get { receivesAhead.load(ordering: .acquiring) }
    set { receivesAhead.store(newValue, ordering: .releasing) }
  }

  /// Whether the socket drains: messages that have arrived are used, and then it ends. Never
  /// becomes false again. Readable on any thread.
  var isDraining: Bool { drains.load(ordering: .acquiring) }

  /// Marks the socket as draining, from any thread. Returns false if it already was.
  func markDraining() -> Bool { !drains.exchange(true, ordering: .acquiringAndReleasing) }

  var isOpen: Bool { phase == .open }

  /// Whether this is a datagram socket that was shut down for receiving. The kernel does not wake
  /// its waiting receives, and continues to answer `EAGAIN`.
  var hasNoEndOfItsOwn: Bool { kind == .datagram && isShutDownForReceiving }

  /// Enters the next phase: the socket's end progresses, or messages have prevented a release.
  func enter(_ next: Phase) {
    assert(phase.mayBecome(next), "A socket that was \(phase) is \(next)")
    if next == .closed && phase != .closed { core.openSockets.add(-1) }
    phase = next
    isOpenForAll.store(next == .open, ordering: .relaxed)
  }

  /// Notes that a Unix datagram socket gets another peer, which need not be connected to it.
  func connectsElsewhere() { if isConnectedBothWays != nil { isConnectedBothWays = false } }

  private static func isConnectedBothWays(_ number: Int32) -> Bool {
    // A peer that was connected by its address has a name; the peer of a socket pair has none.
    do { return try AnySocketAddress.peer(of: number).map { $0.unix == .unnamed } ?? true } catch {
      return false
    }
  }

  private static func option(_ name: Int32, of number: Int32) -> Int32? {
    var value: Int32 = 0
    var length: UInt32 = 4
    // SAFETY: both pointers lead to local variables.
    let result = unsafe cms_get_option(number, cms_sol_socket, name, &value, &length)
    return result == 0 ? value : nil
  }

  /// How a connect(2) in progress has ended: 0 or -errno; nil if it goes on. A second connect(2)
  /// would tell that for TCP; on vsock, it would begin another attempt after one that failed.
  var connectionStatus: Int32? {
    if let error = Self.option(cms_so_error, of: number), error > 0 { return -error }
    do throws(SocketError) {
      _ = try AnySocketAddress.peer(of: number)
      return 0
    } catch {
      return error.errno == .socketNotConnected ? nil : -(error.errno?.rawValue ?? 0)
    }
  }

  // MARK: Policy

  /// Sets the policy from now on.
  func setPolicy(_ policy: ReceivePolicy) {
    // The option is not touched unless the policy requires it, because the user may have set it.
    if policy.admitsDescriptors != self.policy?.policy.admitsDescriptors ?? true {
      setPassesDescriptors(policy.admitsDescriptors)
    }
    if let current = self.policy {
      // The enforcer stays, because the descriptors of messages that it has admitted still count.
      current.policy = policy
    } else if !policy.isUnrestricted {
      self.policy = PolicyEnforcer(
        policy, closing: ClosingQueue(group: closing.group, isSerial: true))
    }
  }

  /// Sets `SO_PASSRIGHTS`. If the kernel or the socket does not support it, descriptors are
  /// delivered and the policy closes them.
  private func setPassesDescriptors(_ enabled: Bool) {
    var value: Int32 = enabled ? 1 : 0
    _ = unsafe cms_set_option(number, cms_sol_socket, cms_so_passrights, &value, 4)
  }
}
