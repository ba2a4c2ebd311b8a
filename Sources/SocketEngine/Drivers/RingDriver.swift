// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import CRing
internal import DequeModule
internal import SystemPackage

/// The driver on io_uring. A request is a submission entry, and one `io_uring_enter` per turn
/// submits all entries, waits, and produces completions. A send in a row of sends bypasses the ring
/// (Docs/Decisions/0027). See io_uring(7), and Docs/KERNELS.md for the setup flags and opcodes.
@safe
final class RingDriver: Driver {
  /// Values of `user_data` that do not belong to an operation. No operation has the index
  /// `UInt32.max`.
  private enum Reserved {
    static let wake = UInt64.max
    static let cancel = UInt64.max - 1
  }

  private let ring: OpaquePointer
  private let wakeNumber: Int32
  /// Whether a receive can wait for data before its first try (Linux 5.19).
  private let canPollFirst: Bool
  /// Whether the completion of a receive on a stream reports that more data waits.
  private let streamsReportRest: Bool
  let receiveBuffers: ReceiveBuffers?
  let losesWakeUps = true
  /// The limit on receiving ahead that this ring supports.
  let aheadLimit: AheadLimit
  @safe @exclusivity(unchecked) private(set) var counters = DriverCounters()
  /// Requests that found the submission queue full; the next turn submits them first.
  @safe @exclusivity(unchecked) private var backlog: Deque<Request> = []
  @safe @exclusivity(unchecked) private var cancellations = CancellationRetries()
  @safe @exclusivity(unchecked) private var submissionsBefore: UInt64 = 0
  @safe @exclusivity(unchecked) private var requestsOfLastEnter: UInt64 = 0

  /// Why the loop can no longer be woken.
  @safe @exclusivity(unchecked) private var wakeFailure: Errno?

  private enum Request {
    case start(Operation)
    case cancel(OperationID)
    case watchWake
  }

  /// Takes over a ring that the calling thread has set up (``RingSetup``) and nothing else uses.
  init(
    ring: OpaquePointer, configuration: IOLoop.Configuration, _ limit: AheadLimit,
    streamsReportRest: Bool,
    wakeNumber: Int32
  ) {
    unsafe self.ring = ring
    self.streamsReportRest = streamsReportRest
    let hasMultishotReceives = unsafe limit > .nothing && RingSetup.hasMultishotReceives(ring)
    receiveBuffers =
      hasMultishotReceives
      ? unsafe ReceiveBuffers(
        ring: ring, count: configuration.receiveBuffers,
        controlSize: configuration.controlBufferSize,
        payloadSize: configuration.receiveBufferSize) : nil
    aheadLimit = receiveBuffers == nil ? .nothing : limit
    canPollFirst = hasMultishotReceives
    self.wakeNumber = wakeNumber
    submit(.watchWake)
  }

  func start(_ operation: Operation) { submit(.start(operation)) }

  /// Sends with sendmsg(2) if the send is one in a row and would share its enter with no other
  /// request: that is cheaper. If another request or a receive needs the enter anyway, sendmsg(2)
  /// would be an additional system call.
  func sendDirectly(_ operation: Operation) -> Int32? {
    guard requestsOfLastEnter <= 1, backlog.isEmpty, unsafe !cms_ring_has_requests(ring),
      case .send(let flags, _) = operation.request,
      operation.withSocket({ $0.sendsInARow > 1 && !$0.cutsMessages }) == true
    else { return nil }
    // SAFETY: the memory is valid as for a submission entry, and used only during this call.
    let result = unsafe cms_sendmsg(
      operation.descriptor, operation.header, flags | cms_msg_dontwait)
    switch -result {
    // The ring can wait for room. It may also be allowed what a system call filter forbids here.
    case Int64(Errno.wouldBlock.rawValue), Int64(Errno.notPermitted.rawValue),
      Int64(Errno.permissionDenied.rawValue), Int64(Errno.noFunction.rawValue):
      return nil
    default: return Int32(clamping: result)
    }
  }

  func cancel(_ operation: Operation) {
    cancellations.asked(for: operation.id)
    submit(.cancel(operation.id))
  }

  private func submit(_ request: Request) {
    // If others wait, queue behind them, to keep the order of each socket's operations.
    guard backlog.isEmpty, prepare(request) else {
      backlog.append(request)
      return
    }
  }

  /// Writes a submission entry. Returns false if the queue is full.
  private func prepare(_ request: Request) -> Bool {
    let isPrepared =
      switch request {
      case .start(let operation): prepare(operation)
      case .cancel(let id): unsafe cms_ring_prepare_cancel(ring, Reserved.cancel, id.userData)
      case .watchWake: unsafe cms_ring_prepare_poll_multishot(ring, Reserved.wake, wakeNumber)
      }
    if isPrepared { counters.submissions += 1 }
    return isPrepared
  }

  private func prepare(_ operation: Operation) -> Bool {
    let id = operation.id.userData
    let number = operation.descriptor
    // SAFETY: until its final completion, the operation owns the memory that these entries point
    // to, and holds the channel that owns the descriptor.
    return switch operation.request {
    case .send(let flags, let pause):
      unsafe cms_ring_prepare_sendmsg(
        ring, id, number, operation.header,
        UInt32(bitPattern: pause == nil ? flags : flags | cms_msg_dontwait))
    case .pauseSending(_, let pause): unsafe cms_ring_prepare_pause(ring, id, pause.exponent)
    case .pauseReceiving: unsafe cms_ring_prepare_pause(ring, id, 4)
    case .receive(let flags):
      unsafe cms_ring_prepare_recvmsg(
        ring, id, number, operation.header, UInt32(bitPattern: flags),
        canPollFirst && expectsToWait(operation, flags))
    case .receiveWhenReadable, .acceptWhenReadable: unsafe cms_ring_prepare_poll(ring, id, number)
    case .accept: unsafe cms_ring_prepare_accept(ring, id, number, false)
    case .acceptAfterCancellation: unsafe cms_ring_prepare_accept(ring, id, number, true)
    case .connect(let length):
      unsafe cms_ring_prepare_connect(ring, id, number, operation.header.pointee.name!, length)
    case .awaitConnection: unsafe cms_ring_prepare_poll_connecting(ring, id, number)
    case .receiveAhead:
      unsafe cms_ring_prepare_recvmsg_multishot(
        ring, id, number, operation.header, UInt32(bitPattern: operation.receiveAheadFlags),
        ReceiveBuffers.group)
    case .waitForMessage, .event, .timer: preconditionFailure("Not a request to the kernel")
    }
  }

  /// Whether a receive probably comes before its message. If so, the kernel's first try fails,
  /// which costs a twentieth of a message. Polling for a message that has already arrived costs a
  /// third of one, so this needs a reason to expect that there is none
  /// (Docs/Decisions/0024-polling-first.md). Applies only to plain receives: others do not wait, or
  /// wait for something else.
  private func expectsToWait(_ operation: Operation, _ flags: Int32) -> Bool {
    flags & ~cms_msg_trunc == cms_msg_cmsg_cloexec
      && operation.withSocket { $0.expectsToWait(kernelTells: streamsReportRest) } == true
  }

  func turn(_ wait: Wait) -> Errno? {
    if let wakeFailure { return wakeFailure }
    for id in cancellations.takeDue() { submit(.cancel(id)) }
    let wait = untilNextCancellation(wait)
    while let request = backlog.first, prepare(request) { backlog.removeFirst() }
    counters.enters += 1
    requestsOfLastEnter = counters.submissions - submissionsBefore
    submissionsBefore = counters.submissions
    let status =
      switch wait {
      // Requests are left over, so the next turn must follow immediately.
      case _ where !backlog.isEmpty, .none: unsafe cms_ring_enter(ring, 0, -1)
      case .indefinitely: unsafe cms_ring_enter(ring, 1, -1)
      case .nanoseconds(let time): unsafe cms_ring_enter(ring, 1, time)
      }
    return status < 0 ? refusal(Errno(rawValue: -status)) : nil
  }

  private func refusal(_ errno: Errno) -> Errno? {
    switch errno {
    // A signal, a timeout, completions to be reaped first (which comes next), or a temporary lack
    // of memory. Unsubmitted entries stay in the queue for the next turn.
    case .interrupted, .timeout, .resourceBusy, .resourceTemporarilyUnavailable, .noMemory: nil
    default: errno
    }
  }

  private func untilNextCancellation(_ wait: Wait) -> Wait {
    guard let due = cancellations.due else { return wait }
    let rest = max(0, due.nanosecondsFromNow)
    return switch wait {
    case .none: .none
    case .indefinitely: .nanoseconds(rest)
    case .nanoseconds(let time): .nanoseconds(min(time, rest))
    }
  }

  func reap(into completions: UnsafeMutableBufferPointer<cms_completion>) -> Int {
    while true {
      let reaped = Int(
        unsafe cms_ring_reap(ring, completions.baseAddress!, UInt32(completions.count)))
      let kept = unsafe keepOperations(completions, count: reaped)
      if kept > 0 || reaped == 0 { return kept }
    }
  }

  /// Handles completions that do not belong to operations, and closes the gaps that they leave.
  private func keepOperations(_ completions: UnsafeMutableBufferPointer<cms_completion>, count: Int)
    -> Int
  {
    var kept = 0
    for index in 0..<count {
      let completion = unsafe completions[index]
      switch completion.user_data {
      case Reserved.wake:
        if completion.result < 0 {
          wakeFailure = Errno(rawValue: -completion.result)
        } else if completion.flags & cms_completion_more == 0 {
          submit(.watchWake)
        }
      case Reserved.cancel:
        // 0, -ENOENT or -EALREADY: if the operation still has a completion to come, that tells how
        // it ended.
        if completion.result < 0 { cancellations.missed() }
      default:
        if completion.flags & cms_completion_more == 0 {
          cancellations.ended(OperationID(userData: completion.user_data))
        }
        unsafe completions[kept] = completion
        kept += 1
      }
    }
    return kept
  }

  /// Closing a ring does not end its requests: the kernel cancels them later, and some versions of
  /// Linux still execute those that are ready. So they are cancelled first, by a system call other
  /// than `io_uring_enter`.
  func closeAfterFailure() {
    DriverSelection.ringWasRefused()
    if unsafe cms_ring_cancel_all(ring) == 0 { return close() }
    // That call is refused too, or unknown (before Linux 6.0). If the kernel performs requests only
    // inside io_uring_enter, the ring and its buffers stay in place until the process ends, and
    // nothing touches them. No peer can cause this: it takes a process that restricts itself, or a
    // kernel that has lost completions for lack of memory.
    guard unsafe cms_ring_works_in_enter_only(ring) else {
      fatalError(
        "The kernel refuses io_uring_enter since the loop was started, as a seccomp filter does, and the loop's requests cannot be cancelled otherwise: this kernel (before 6.1) may still "
          + "write to memory that it was given. Set such filters before the first loop, or allow io_uring_enter, or set MESSAGE_SOCKETS_DRIVER=epoll"
      )
    }
  }

  func close() {
    receiveBuffers?.close()
    unsafe cms_ring_destroy(ring)
  }
}

/// The operations that the kernel was asked to cancel and that have not ended.
///
/// One cancellation may not be enough. A request that moves between two of the kernel's queues is
/// found in neither (`-ENOENT`), and one for which a kernel thread is about to block cannot be
/// interrupted yet (`-EALREADY`). Both were seen with connect(2) to a Unix listener whose queue is
/// full, which would wait until the listener accepts. So operations that have not ended are
/// cancelled again after a delay.
struct CancellationRetries: ~Copyable {
  private(set) var pending: Set<OperationID> = []
  /// When to cancel again, if the kernel found nothing to cancel and operations are left.
  private(set) var due: LoopTime?
  private var hasMissed = false
  private var delay = firstDelay

  private static let firstDelay = Duration.microseconds(50)
  private static let longestDelay = Duration.milliseconds(20)

  init() {}

  mutating func asked(for id: OperationID) { pending.insert(id) }

  mutating func ended(_ id: OperationID) {
    guard !pending.isEmpty else { return }
    pending.remove(id)
    if pending.isEmpty {
      due = nil
      hasMissed = false
      delay = Self.firstDelay
    }
  }

  /// Notes that the kernel answered a cancellation with an error. Usually the operation had already
  /// ended.
  mutating func missed() { hasMissed = true }

  /// Call once per turn, after all completions have been seen. Returns the operations to cancel
  /// again.
  mutating func takeDue() -> Set<OperationID> {
    guard hasMissed, !pending.isEmpty else { return [] }
    guard let due else {
      self.due = LoopTime(after: delay)
      return []
    }
    guard due <= LoopTime.now else { return [] }
    self.due = nil
    hasMissed = false
    delay = min(delay * 2, Self.longestDelay)
    return pending
  }
}
