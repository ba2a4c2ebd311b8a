// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

// Sequential packets over vsock. If a message does not fit into the room that the peer has left, a
// send that must not block sends what fits, and returns EAGAIN as if it had sent nothing (seen on
// Linux 6.1 and 6.18). Sent once more from its start, the message would arrive with its beginning
// doubled. Therefore:
//
// - On io_uring, the kernel keeps its place in the payload while it waits for room, and goes on
//   there. Its result is the length of the last part, and the message is whole.
// - On epoll, a thread sends with a call that blocks; see `BlockedSends`.
// - A send that ends early, for whatever reason, may have sent a part. The next message would be
//   taken for the rest of it, so the sending side ends then.

extension OpenSocket {
  /// Keeps the kernel from starting a blocking send again after the process was stopped
  /// (`SIGSTOP`): it does so only if the call would wait without limit. The limit is eleven days.
  static func neverRestartSends(on number: Int32) {
    var limit: (seconds: Int64, microseconds: Int64) = (1_000_000, 0)
    // SAFETY: the kernel reads the 16 bytes of a local variable.
    _ = unsafe cms_set_option(number, cms_sol_socket, cms_so_sndtimeo, &limit, 16)
  }

  /// Ends the sending side after a send that the kernel was given has failed with `errno`, if a
  /// part of its message may have been sent. Returns the error to report.
  func endSending(after errno: Errno) -> Errno {
    switch errno {
    case .canceled, .interrupted, .noMemory:
      _ = cms_shutdown(number, false, true)
      return errno == .interrupted ? .canceled : errno
    // The kernel gave up waiting for room.
    case .wouldBlock:
      _ = cms_shutdown(number, false, true)
      return .brokenPipe
    // Nothing was sent.
    default: return errno
    }
  }
}

extension SocketChannel {
  /// Refuses what vsock would not send, but report as sent.
  func checkVsock(_ payload: PayloadBytes, _ control: ControlMessageBuffer, _ flags: Int32)
    throws(SocketError)
  {
    guard control.isEmpty else {
      throw SocketError(.notSupported, .send, detail: "vsock carries no control messages")
    }
    guard socket.cutsMessages else { return }
    guard payload.byteCount > 0 else {
      throw SocketError(.emptyPayload, .send, detail: "vsock carries no empty messages")
    }
    guard flags & cms_msg_dontwait == 0 else {
      throw SocketError(
        .notSupported, .send, detail: "without a wait, vsock may send a part of the message")
    }
  }
}
