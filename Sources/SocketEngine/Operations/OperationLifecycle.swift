// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// The life of one operation, as a pure state machine: events in, the action to perform out.
///
/// ```
/// free ──queue──▶ queued ──submit──▶ inKernel ──final completion──▶ done ──recycle──▶ free
///                    │                   └─stop─▶ stopping ──final completion──▶ done
///                    └──────────stop────────────────────────────────────────────▶ done
/// ```
/// Only the kernel's final completion leads from `inKernel` or `stopping` to `done`: everything
/// that the kernel may still read or write stays alive until then.
package struct OperationLifecycle: Sendable {
  package enum State: Sendable, Equatable {
    /// In the pool of free slots.
    case free
    /// Prepared, and waiting for its turn on the socket; the kernel does not have it.
    case queued
    /// Submitted.
    case inKernel
    /// Submitted, and the kernel was asked to cancel it.
    case stopping
    /// Ended; the outcome waits for its task.
    case done
  }

  package enum StopAction: Equatable {
    /// Do nothing: the operation has ended or was stopped before.
    case none
    /// Finish the operation now; it was never submitted.
    case finish
    /// Ask the kernel to cancel; its final completion tells whether it did.
    case cancelInKernel
  }

  package private(set) var state = State.free
  /// The first reason for which the operation was stopped.
  package private(set) var stopReason: StopReason?

  /// Whether part of the request was carried out and the caller wants all of it or nothing. From
  /// then on the caller's own reasons do not stop the operation.
  private var isCommitted = false
  /// Whether the request must be finished once it has begun.
  package var finishesOnceBegun = false

  package init() {}

  package mutating func queue() {
    precondition(state == .free, "An operation was taken from the pool while it was \(state)")
    state = .queued
  }

  package mutating func submit() {
    precondition(state == .queued, "An operation was submitted while it was \(state)")
    state = .inKernel
  }

  package mutating func stop(_ reason: StopReason) -> StopAction {
    if isCommitted, reason.isOfCaller { return .none }
    switch state {
    case .queued:
      stopReason = reason
      state = .done
      return .finish
    case .inKernel:
      stopReason = reason
      state = .stopping
      return .cancelInKernel
    case .stopping:
      // Part of the request may still turn out to be done. That overrides the caller's reason but
      // not this one, so remember this one.
      if finishesOnceBegun, !reason.isOfCaller { stopReason = reason }
      return .none
    case .done:
      return .none
    case .free:
      preconditionFailure(
        "An operation was stopped while it was free: its identifier should not have matched")
    }
  }

  /// Whether the operation may be submitted again, that is, whether it was not stopped.
  package var mayContinue: Bool { state == .inKernel }

  /// Notes that part of the request was carried out. Returns whether the rest may follow: not after
  /// a stop, unless the request must be finished once begun and only its caller stopped it.
  package mutating func continueAfterPart() -> Bool {
    isCommitted = finishesOnceBegun
    if isCommitted, state == .stopping, let reason = stopReason, reason.isOfCaller {
      state = .inKernel
      stopReason = nil
    }
    return mayContinue
  }

  /// Notes the final completion.
  package mutating func finish() {
    precondition(
      state == .inKernel || state == .stopping,
      "A completion arrived for an operation that was \(state)")
    state = .done
  }

  package mutating func recycle() {
    precondition(state == .done, "An operation was recycled while it was \(state)")
    state = .free
    stopReason = nil
    isCommitted = false
    finishesOnceBegun = false
  }
}

/// Why an operation was asked to end before the kernel finished it.
package enum StopReason: Sendable {
  /// The awaiting task was cancelled.
  case taskCancelled
  /// The caller's deadline passed.
  case deadline
  /// The socket was closed.
  case socketClosed
  /// The loop is shutting down.
  case loopShutdown
  /// The kernel refuses the loop's system call.
  case loopFailed
  /// The receive window is full.
  case windowFull
  /// Bytes were unread that precede everything that this receive can still bring; it takes them.
  case bytesUnread
  /// The socket was shut down for receiving, which the kernel does not report to a datagram
  /// socket's receives. They return the end.
  case receivingEnded
  /// The socket drains, and the receive was to wait for messages only until then.
  case draining

  /// Whether the caller no longer wants this operation, while the socket and the loop continue.
  var isOfCaller: Bool {
    switch self {
    case .taskCancelled, .deadline: true
    default: false
    }
  }
}

/// How long a send waits for room before it tries again: 1, 2, 4 … 32 ms.
///
/// For Unix sockets for whose room io_uring does not wait correctly:
/// - Datagrams, if the receiver's queue may be full. No event reports the room, and Linux copies
///   the payload before it checks the queue; io_uring then continues where the copy ended, with an
///   empty payload (seen on 6.18).
/// - Streams and seqpacket sockets before Linux 6.0: no event tells a send that waits that its
///   direction was shut down (seen on 5.10 with the io_uring of 5.15).
package struct SendBackoff: Sendable {
  /// The delay is 2 to the power of this, in milliseconds.
  package let exponent: UInt32

  package static let first = SendBackoff(exponent: 0)
  var next: SendBackoff { SendBackoff(exponent: min(exponent + 1, 5)) }
}

/// A request to the kernel.
package enum OperationRequest: Sendable {
  /// sendmsg(2): `IORING_OP_SENDMSG`. With a pause, the receiver's queue may be full, for which the
  /// kernel does not wait correctly; the send is then tried again after the pause.
  case send(flags: Int32, pause: SendBackoff?)
  /// The pause of a send, without a send: `IORING_OP_TIMEOUT`.
  case pauseSending(flags: Int32, pause: SendBackoff)
  /// recvmsg(2): `IORING_OP_RECVMSG`.
  case receive(flags: Int32)
  /// A receive that takes no message and holds no memory until there is something to receive:
  /// `IORING_OP_POLL_ADD` comes first.
  case receiveWhenReadable(flags: Int32)
  /// The pause of a receive from the error queue: `IORING_OP_TIMEOUT`. Linux 5.15 answers such a
  /// receive with `EAGAIN` while an ordinary message waits; it is tried again after 16 ms.
  case pauseReceiving(flags: Int32)
  /// A repeated recvmsg(2) into the loop's shared buffers: `IORING_OP_RECVMSG` with
  /// `IORING_RECV_MULTISHOT`.
  case receiveAhead
  /// The next message of the socket's `receiveAhead`, or at most `room` bytes of a stream, or a
  /// copy. It is not a request to the kernel.
  case waitForMessage(copying: Bool, room: Int)
  /// accept4(2) with `SOCK_CLOEXEC`: `IORING_OP_ACCEPT`.
  case accept
  /// An accept on a listener that is `O_NONBLOCK`, for which Linux before 6.0 does not wait:
  /// `IORING_OP_POLL_ADD` comes first.
  case acceptWhenReadable
  /// An accept that does not wait, after an accept that was cancelled: `IORING_ACCEPT_DONTWAIT`,
  /// Linux 6.10. A connection wakes one of its waiters, in any process. If that waiter is an accept
  /// of a ring that is cancelled at that moment, it neither takes the connection nor wakes the next
  /// waiter, and the connection would stay in the listener's queue until another one comes.
  case acceptAfterCancellation
  /// connect(2), to the address in the operation's memory: `IORING_OP_CONNECT`.
  case connect(nameLength: UInt32)
  /// The end of a connect(2) in progress on a vsock socket: `IORING_OP_POLL_ADD`, after which the
  /// socket is asked. `IORING_OP_CONNECT` does not do: it calls connect(2) again as soon as
  /// anything wakes the socket, and reports `EALREADY` for an attempt that goes on (seen on Linux
  /// 5.10 and 6.18).
  case awaitConnection
  /// An event in this process, which is signalled.
  case event
  /// A timer, which ends when the loop's clock passes the deadline.
  case timer
}

extension OperationRequest {
  /// Whether it receives ordinary messages: not entries of the error queue or out-of-band bytes,
  /// which have queues of their own.
  var receivesMessages: Bool {
    switch self {
    case .receive(let flags): flags & (cms_msg_errqueue | cms_msg_oob) == 0
    case .receiveWhenReadable: true
    default: false
    }
  }

  /// Whether it receives a copy.
  var isPeek: Bool {
    switch self {
    case .receive(let flags), .receiveWhenReadable(let flags): flags & cms_msg_peek != 0
    default: false
    }
  }
}

// What a completion makes of an operation: it is done, it is submitted again for the rest, or
// another request takes its place.

extension Operation {
  enum Progress {
    /// The request must be submitted again, for the remaining part.
    case again
    case finished
  }

  /// Processes one completion. From here on the outcome owns every descriptor that came with it.
  func absorb(_ completion: cms_completion) -> Progress {
    guard completion.result >= 0 else { return absorb(Errno(rawValue: -completion.result)) }
    let count = Int(completion.result)
    switch request {
    case .send: return absorbSent(count)
    case .receive:
      absorbReceived(count)
      withSocket { socket in
        if informsPredictors(on: socket) { socket.sameTurn.note(wasStartedInThisTurn) }
        socket.waits.noteReceive(inTurn: wasStartedInThisTurn)
        socket.isKnownEmpty = completion.flags & cms_completion_socket_nonempty == 0
        outcome.noteEnd(
          on: socket.kind, wasStopped: life.stopReason != nil && socket.hasNoEndOfItsOwn)
        if !socket.pendingErrors.isEmpty { settlePendingErrors(of: socket) }
        if let policy = socket.policy { policy.evaluate(&outcome) }
        if !request.isPeek { socket.noteLoss(&outcome) }
      }
    case .receiveWhenReadable(let flags):
      guard life.mayContinue else {
        fail(.canceled)
        return .finished
      }
      withSocket { $0.isKnownEmpty = false }
      request = .receive(flags: flags)
      acquireReceiveMemory()
      return .again
    case .acceptWhenReadable: return goOn(with: .accept)
    case .accept, .acceptAfterCancellation:
      outcome.descriptors.append(OwnedFd(adopting: FileDescriptor(rawValue: completion.result)))
    case .connect: break
    case .awaitConnection:
      switch withSocket({ $0.connectionStatus }) ?? nil {
      case nil: return goOn(with: .awaitConnection)
      case let status?: if status < 0 { fail(Errno(rawValue: -status)) }
      }
    case .pauseSending, .pauseReceiving, .receiveAhead, .waitForMessage, .event, .timer:
      preconditionFailure("Not a request with one completion")
    }
    return .finished
  }

  /// Whether this receive tells the predictors something: it was started on an empty socket, and it
  /// may wait.
  private func informsPredictors(on socket: OpenSocket) -> Bool {
    if case .receive(let flags) = request {
      socket.isKnownEmpty && flags & cms_msg_dontwait == 0
    } else {
      false
    }
  }

  private func absorb(_ errno: Errno) -> Progress {
    if case .send = request, withSocket({ $0.cutsMessages }) == true {
      outcome.errno = withSocket { $0.endSending(after: errno) }
      return .finished
    }
    // The thread got a signal; nothing was transferred.
    if errno == .interrupted, life.mayContinue { return again() }
    var errno = errno
    switch request {
    case .receive(let flags) where request.receivesMessages && errno != .interrupted:
      guard let told = withSocket({ errorBehindMessages(errno, on: $0) })! else {
        request = .receive(flags: flags | cms_msg_dontwait)
        return again()
      }
      errno = told
    case .send(let flags, let pause?) where errno == .wouldBlock:
      return goOn(with: .pauseSending(flags: flags, pause: pause))
    // The pause is over.
    case .pauseSending(let flags, let pause) where errno == .timeout && life.mayContinue:
      request = .send(flags: flags, pause: pause.next)
      return .again
    case .receive(let flags)
    where errno == .wouldBlock && flags & cms_msg_errqueue != 0 && flags & cms_msg_dontwait == 0:
      return goOn(with: .pauseReceiving(flags: flags))
    case .pauseReceiving(let flags) where errno == .timeout && life.mayContinue:
      request = .receive(flags: flags)
      return again()
    case .accept where errno == .wouldBlock: return goOn(with: .acceptWhenReadable)
    case .accept
    where errno == .canceled && !life.mayContinue && withCore({ $0.driver.losesWakeUps }):
      request = .acceptAfterCancellation
      return .again
    case .acceptAfterCancellation:
      // There is no connection, or the kernel does not know the flag.
      fail(.canceled)
      return .finished
    default: break
    }
    // A stop interrupts a request that a kernel thread is executing.
    fail(errno == .interrupted ? .canceled : errno)
    return .finished
  }

  /// Submits another request in place of this one, unless the operation was stopped. Nothing was
  /// transferred.
  private func goOn(with next: OperationRequest) -> Progress {
    guard life.mayContinue else {
      fail(.canceled)
      return .finished
    }
    request = next
    return .again
  }

  /// Submits the request again; a receive gets fresh memory.
  private func again() -> Progress {
    guard case .receive = request else { return .again }
    releaseReceiveMemory()
    withCore { if $0.acquiresReceiveMemoryEarly { acquireReceiveMemory() } }
    return .again
  }

  /// Ends the operation with `errno`, or with the end of the receivable data if that is what the
  /// error means.
  func fail(_ errno: Errno) {
    let isEnd =
      switch (errno, request) {
      case (.canceled, _): life.stopReason == .receivingEnded
      case (.wouldBlock, .receive): socket?.hasNoEndOfItsOwn ?? false
      default: false
      }
    outcome.isEnd = isEnd
    // A pause that ends early was cancelled, whatever the error.
    switch request {
    case .pauseSending, .pauseReceiving: outcome.errno = .canceled
    default: outcome.errno = isEnd ? nil : errno
    }
  }

  private func absorbSent(_ count: Int) -> Progress {
    outcome.byteCount += count
    // SAFETY: the completion has come, so the kernel does not read the header.
    let remaining = memory.advanceVectors(by: count)
    if remaining == 0 { return .finished }
    if withSocket({ $0.cutsMessages }) == true {
      // The message is whole; this was the length of its last part.
      outcome.byteCount += remaining
      return .finished
    }
    // Only streams send partially. The control messages went out with the first bytes, so the rest
    // goes without them.
    unsafe header.pointee.control = nil
    unsafe header.pointee.control_length = 0
    let wasStopped = life.stopReason != nil
    guard count > 0, life.continueAfterPart() else {
      outcome.errno = .canceled
      return .finished
    }
    if wasStopped { withCore { $0.statistics.wonAgainstCancellation += 1 } }
    if case .send(let flags, _) = request {
      // The request not to wait applies only before the first byte. What follows the progress backs
      // off from the start again.
      let flags = life.finishesOnceBegun ? flags & ~cms_msg_dontwait : flags
      let pause = withSocket { $0.sendBackoff(hasAddress: false, flags) } ?? nil
      request = .send(flags: flags, pause: pause)
    }
    return .again
  }
}
