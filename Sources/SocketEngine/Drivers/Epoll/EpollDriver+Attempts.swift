// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// What came of one try that does not block.
enum Attempt {
  /// The operation's result, as a completion reports it.
  case done(Int32)
  case notYet(RetryStrategy)
  /// A thread has it in hand: ``BlockedAccepts``.
  case elsewhere
}

extension EpollDriver {
  /// Tries an operation once. Never blocks, never runs anybody's code.
  func attempt(_ operation: Operation) -> Attempt {
    let number = operation.descriptor
    // SAFETY: the operation owns the memory that its header points to until its final completion,
    // and holds the channel whose descriptor the number is.
    switch operation.request {
    case .send(let flags, _):
      let result = unsafe cms_sendmsg(number, operation.header, flags | cms_msg_dontwait)
      return interpret(result, flags, orElse: operation.sendsToAddress ? .backOff : .roomOrShutdown)
    case .receive(let flags):
      operation.acquireReceiveMemory()
      let result = interpret(
        unsafe cms_recvmsg(number, operation.header, flags | cms_msg_dontwait), flags,
        orElse: .onReadiness)
      if case .notYet = result { operation.releaseReceiveMemory() }
      return result
    case .accept: return accept(operation)
    case .connect(let length): return connect(operation, length)
    case .pauseSending, .pauseReceiving, .receiveWhenReadable, .acceptWhenReadable,
      .acceptAfterCancellation,
      .receiveAhead, .waitForMessage, .event, .timer:
      preconditionFailure("Not a request to this driver")
    }
  }

  private func interpret(_ result: Int64, _ flags: Int32, orElse strategy: RetryStrategy) -> Attempt
  {
    // Whoever asks not to wait is told so, as io_uring does.
    if result == Int64(-Errno.wouldBlock.rawValue), flags & cms_msg_dontwait == 0 {
      return .notYet(strategy)
    }
    return .done(Int32(clamping: result))
  }

  /// accept4(2) has no flag that means "do not block", so that it depends on the listener's open
  /// file, whose flags any process that has it can change. Without `O_NONBLOCK` a thread makes the
  /// call, and only if a connection waits.
  private func accept(_ operation: Operation) -> Attempt {
    let number = operation.descriptor
    if let thread = operation.withSocket({ $0.sharedAccepts.stranded.take() }) ?? nil {
      accepts.add(operation, thread)
      return .elsewhere
    }
    while true {
      guard cms_is_readable(number) else {
        // Nothing would ever come to it. The call itself is left out: it could block if another
        // process made it a listener just now.
        if let errno = refusal(ofAcceptFrom: number) { return .done(-errno.rawValue) }
        operation.withSocket { $0.sharedAccepts.noteEmptyQueue() }
        return .notYet(.onReadiness)
      }
      guard cms_is_nonblocking(number) else { break }
      let result = cms_accept(number)
      if result == -Errno.wouldBlock.rawValue { return .notYet(.onReadiness) }
      guard operation.withSocket({ $0.sharedAccepts.closeIfOurs(result) }) ?? false else {
        return .done(result)
      }
    }
    do throws(Errno) {
      accepts.add(operation, try AcceptingThread(listener: number, inbox: inbox))
      return .elsewhere
    } catch {
      return error == .resourceTemporarilyUnavailable ? .notYet(.backOff) : .done(-error.rawValue)
    }
  }

  /// What accept4(2) says of a socket that does not listen; nil if it does.
  private func refusal(ofAcceptFrom number: Int32) -> Errno? {
    if option(cms_so_acceptconn, of: number) != 0 { return nil }
    let type = option(cms_so_type, of: number)
    let hasConnections = type == cms_socket_stream || type == cms_socket_seqpacket
    return hasConnections ? .invalidArgument : .notSupportedOnSocket
  }

  private func option(_ name: Int32, of number: Int32) -> Int32? {
    var value: Int32 = 0
    var length: UInt32 = 4
    // SAFETY: both are locals.
    let status = unsafe cms_get_option(number, cms_sol_socket, name, &value, &length)
    return status == 0 ? value : nil
  }

  /// Neither has connect(2) such a flag. The socket is a fresh one of this process's, and
  /// `O_NONBLOCK` on it for the length of the call. One that keeps the boundaries of datagrams may
  /// come from elsewhere; it has nothing to wait for.
  private func connect(_ operation: Operation, _ length: UInt32) -> Attempt {
    let number = operation.descriptor
    let wasNonblocking = operation.withSocket { $0.kind } == .datagram || cms_is_nonblocking(number)
    if !wasNonblocking { _ = cms_set_nonblocking(number, true) }
    defer { if !wasNonblocking { _ = cms_set_nonblocking(number, false) } }
    let result = unsafe cms_connect(number, operation.header.pointee.name!, length)
    return switch Errno(rawValue: -result) {
    // TCP: under way. Asking again is how to learn what became of it.
    case .nowInProgress, .alreadyInProcess: .notYet(.onReadiness)
    default: .done(result)
    }
  }
}

/// How an operation that cannot be done yet is to wait.
enum RetryStrategy {
  /// Readiness tells, always.
  case onReadiness
  /// Readiness tells that there is room. It does not tell that the peer has shut down its reading
  /// side, or that another process has shut down our writing side (the event is raised, but epoll
  /// finds nothing ready and drops it): looked after from time to time.
  case roomOrShutdown
  /// Nothing tells: the full queue of an unconnected peer is no event on our socket.
  case backOff

  /// When to try again for the first time. Nil: never.
  var firstDelay: Duration? {
    switch self {
    case .onReadiness: nil
    case .roomOrShutdown: .milliseconds(16)
    case .backOff: .milliseconds(1)
    }
  }

  /// When to try again after `delay` was in vain.
  func delay(after delay: Duration) -> Duration {
    switch self {
    case .onReadiness: delay
    case .roomOrShutdown: min(delay * 2, .milliseconds(512))
    case .backOff: min(delay * 2, .milliseconds(32))
    }
  }
}

/// An operation to try again after a while, because the kernel may not say when.
struct Retry {
  let operation: Operation
  /// The slot may be in another use by then.
  let id: OperationID
  let strategy: RetryStrategy
  let delay: Duration
}
