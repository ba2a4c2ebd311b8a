// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// What came of one try that does not block.
enum Attempt {
  /// The operation's result, as a completion reports it.
  case done(Int32)
  case notYet(Patience)
}

extension ReadinessDriver {
  /// Tries an operation once. Never blocks (for listeners see `accept`), never runs anybody's code.
  func attempt(_ operation: Operation) -> Attempt {
    let number = operation.descriptor
    // SAFETY: the operation owns the memory that its header points to until its final completion,
    // and holds the channel whose descriptor the number is.
    switch operation.request {
    case .send(let flags, _):
      let result = unsafe cms_sendmsg(number, operation.header, flags | cms_msg_dontwait)
      return judge(result, flags, orElse: operation.sendsToAddress ? .backOff : .roomOrShutdown)
    case .receive(let flags):
      operation.lendReceiveMemory()
      let result = judge(
        unsafe cms_recvmsg(number, operation.header, flags | cms_msg_dontwait), flags,
        orElse: .readiness)
      if case .notYet = result { operation.giveBackReceiveMemory() }
      return result
    case .accept: return accept(number)
    case .connect(let length): return connect(operation, length)
    case .pauseSending, .receiveWhenReadable, .receiveAhead, .waitForMessage, .event, .timer:
      preconditionFailure("Not a request to this driver")
    }
  }

  private func judge(_ result: Int64, _ flags: Int32, orElse patience: Patience) -> Attempt {
    // Whoever asks not to wait is told so, as io_uring does.
    if result == Int64(-Errno.wouldBlock.rawValue), flags & cms_msg_dontwait == 0 {
      return .notYet(patience)
    }
    return .done(Int32(clamping: result))
  }

  /// accept4(2) has no flag that means "do not block", so that it depends on the listener. Ours are
  /// `O_NONBLOCK` (``IOLoop/wantsNonblockingListeners``). Another's is left as it is, and asked
  /// first whether a connection waits.
  private func accept(_ number: Int32) -> Attempt {
    guard cms_is_nonblocking(number) || cms_is_readable(number) else { return .notYet(.readiness) }
    let result = cms_accept(number)
    return result == -Errno.wouldBlock.rawValue ? .notYet(.readiness) : .done(result)
  }

  /// Neither has connect(2) such a flag. The socket is a fresh one of this process's, and
  /// `O_NONBLOCK` on it for the length of the call.
  private func connect(_ operation: Operation, _ length: UInt32) -> Attempt {
    let number = operation.descriptor
    let wasNonblocking = cms_is_nonblocking(number)
    if !wasNonblocking { _ = cms_set_nonblocking(number, true) }
    defer { if !wasNonblocking { _ = cms_set_nonblocking(number, false) } }
    let result = unsafe cms_connect(number, operation.header.pointee.name!, length)
    return switch Errno(rawValue: -result) {
    // TCP: under way. Asking again is how to learn what became of it.
    case .nowInProgress, .alreadyInProcess: .notYet(.readiness)
    default: .done(result)
    }
  }
}
