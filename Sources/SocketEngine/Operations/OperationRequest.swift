// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

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
