// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The life of one operation, as a pure state machine: events in, the action to perform out.
///
/// ```
/// free ──queue──▶ queued ──submit──▶ inKernel ──final completion──▶ done ──recycle──▶ free
///                    │                   └─stop─▶ stopping ──final completion──▶ done
///                    └──────────stop────────────────────────────────────────────▶ done
/// ```
/// There is no way from `inKernel` or `stopping` to `done` but the kernel's final completion:
/// whatever the kernel may still read or write stays alive until then.
package struct OperationLifecycle: Sendable {
  package enum State: Sendable, Equatable {
    /// In the pool.
    case free
    /// Prepared, waiting for its turn on the socket; the kernel does not know it.
    case queued
    /// Submitted.
    case inKernel
    /// Submitted, and the kernel has been asked to cancel it.
    case stopping
    /// The outcome is known and waits for its task.
    case done
  }

  package enum StopAction: Equatable {
    /// Too late, or asked before: the outcome stands or is on its way.
    case none
    /// Never submitted: finish it here and now.
    case finish
    /// Ask the kernel to cancel; its final completion decides who won.
    case cancelInKernel
  }

  package private(set) var state = State.free
  /// The first reason for which the operation was asked to stop.
  package private(set) var stopReason: StopReason?

  /// A part of the request has been carried out, and the caller wants all of it or nothing: from
  /// then on the caller's own reasons do not stop it.
  private var isCommitted = false
  /// Whether the request, once begun, is to be finished.
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
      // A part may still turn out to be done, which the caller's reason does not outlive.
      if finishesOnceBegun, !reason.isOfCaller { stopReason = reason }
      return .none
    case .done:
      return .none
    case .free:
      preconditionFailure(
        "An operation was stopped while it was free: its identifier should not have matched")
    }
  }

  /// Whether another submission may follow: not once it was stopped.
  package var mayContinue: Bool { state == .inKernel }

  /// A part of the request has been carried out. Whether the rest may follow: not once it was
  /// stopped, unless it is to be finished once it has begun, and its caller alone has stopped it.
  package mutating func continueAfterPart() -> Bool {
    isCommitted = finishesOnceBegun
    if isCommitted, state == .stopping, let reason = stopReason, reason.isOfCaller {
      state = .inKernel
      stopReason = nil
    }
    return mayContinue
  }

  /// The final completion was seen.
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
  /// Enough has been received ahead of demand.
  case windowFull
  /// Bytes that come before all that a receive can still bring were put back. It takes them.
  case bytesUnread
  /// The socket was shut down for receiving, which the kernel does not tell a datagram socket's
  /// receives. They find the end.
  case receivingEnded
  /// The socket drains, and the receive was to wait for messages until then only.
  case draining

  /// Whether the caller wants no more of this operation, while the socket and the loop go on.
  var isOfCaller: Bool {
    switch self {
    case .taskCancelled, .deadline: true
    default: false
    }
  }
}

/// How long a send waits for room in a receiver's queue before it tries again: 1, 2, 4 … 32 ms.
///
/// For Unix datagrams. Nothing tells that there is room, and io_uring does not wait for it: Linux
/// copies the payload before it looks at the queue, and io_uring goes on where the copy ended, with
/// nothing (seen on 6.18).
package struct SendBackoff: Sendable {
  /// 2 to the power of this, in milliseconds.
  package let exponent: UInt32

  package static let first = SendBackoff(exponent: 0)
  var next: SendBackoff { SendBackoff(exponent: min(exponent + 1, 5)) }
}

/// What an operation asks of the kernel.
package enum OperationRequest: Sendable {
  /// sendmsg(2): `IORING_OP_SENDMSG`. With a pause, the receiver's queue may be full, which the
  /// kernel does not wait for properly: then it is tried again after that pause.
  case send(flags: Int32, pause: SendBackoff?)
  /// Nothing but the pause: `IORING_OP_TIMEOUT`.
  case pauseSending(flags: Int32, pause: SendBackoff)
  /// recvmsg(2): `IORING_OP_RECVMSG`.
  case receive(flags: Int32)
  /// The same, but nothing is received, and no memory held, before there is something:
  /// `IORING_OP_POLL_ADD` first.
  case receiveWhenReadable(flags: Int32)
  /// A receive from the error queue, which Linux 5.15 answers with `EAGAIN` while an ordinary
  /// message waits: 16 ms later it is tried again. Nothing but that pause: `IORING_OP_TIMEOUT`.
  case pauseReceiving(flags: Int32)
  /// recvmsg(2), again and again, into the loop's shared buffers: `IORING_OP_RECVMSG` with
  /// `IORING_RECV_MULTISHOT`.
  case receiveAhead
  /// The next message of the socket's `receiveAhead`, or of a stream so many bytes of it, or a
  /// copy; not a request of its own to the kernel.
  case waitForMessage(copying: Bool, room: Int)
  /// accept4(2) with `SOCK_CLOEXEC`: `IORING_OP_ACCEPT`.
  case accept
  /// The same on a listener that is `O_NONBLOCK`, for which Linux before 6.0 does not wait:
  /// `IORING_OP_POLL_ADD` first.
  case acceptWhenReadable
  /// The same without waiting, after an accept that was cancelled: `IORING_ACCEPT_DONTWAIT`, Linux
  /// 6.10. A connection wakes one of those who wait for it, in whichever process. If that is one
  /// who gives up at the same moment, a ring's accept neither takes it nor wakes the next: it would
  /// wait in the listener until another connection comes.
  case acceptAfterCancellation
  /// connect(2), to the address in the operation's memory: `IORING_OP_CONNECT`.
  case connect(nameLength: UInt32)
  /// Something in this process, which is signalled.
  case event
  /// Nothing but time: done when the loop's clock passes the deadline.
  case timer
}

extension OperationRequest {
  /// Whether it receives one message: not an entry of the error queue, nor out-of-band bytes, which
  /// have queues of their own.
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
