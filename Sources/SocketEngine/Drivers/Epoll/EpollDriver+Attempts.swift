// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// The outcome of one non-blocking attempt.
enum Attempt {
  /// The operation's result, as a completion reports it.
  case done(Int32)
  case notYet(RetryStrategy)
  /// A thread performs the operation; see ``BlockedAccepts``.
  case elsewhere
}

extension EpollDriver {
  /// Tries an operation once. Never blocks, and never runs user code.
  /// A call that could block is left to a thread.
  func attempt(_ operation: Operation) -> Attempt {
    let number = operation.descriptor
    // SAFETY: until its final completion, the operation owns the memory that its header points to,
    // and holds the channel that owns the descriptor.
    switch operation.request {
    case .send where operation.withSocket({ $0.cutsMessages }) == true:
      return sendElsewhere(operation)
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
    case .awaitConnection:
      let status = operation.withSocket { $0.connectionStatus } ?? nil
      return status.map { .done($0) } ?? .notYet(.onReadiness)
    case .pauseSending, .pauseReceiving, .receiveWhenReadable, .acceptWhenReadable,
      .acceptAfterCancellation,
      .receiveAhead, .waitForMessage, .event, .timer:
      preconditionFailure("Not a request to this driver")
    }
  }

  private func interpret(_ result: Int64, _ flags: Int32, orElse strategy: RetryStrategy) -> Attempt
  {
    // An operation with `MSG_DONTWAIT` gets the error, as on io_uring.
    if result == Int64(-Errno.wouldBlock.rawValue), flags & cms_msg_dontwait == 0 {
      return .notYet(strategy)
    }
    return .done(Int32(clamping: result))
  }

  /// Sends a whole message on a socket that would send a part of it. The call may block, so a
  /// thread makes it.
  private func sendElsewhere(_ operation: Operation) -> Attempt {
    let number = operation.descriptor
    // An empty send sends nothing, and reports a direction that was shut down or a connection that
    // has ended, which no event does while there is no room.
    // SAFETY: the header points nowhere.
    var nothing = unsafe cms_msghdr()
    let status = unsafe cms_sendmsg(number, &nothing, cms_msg_dontwait | cms_msg_nosignal)
    guard status >= 0 else { return .done(Int32(clamping: status)) }
    guard cms_is_writable(number) else { return .notYet(.roomOrShutdown) }
    guard case .send(let flags, _) = operation.request else {
      preconditionFailure("Not a send")
    }
    do throws(Errno) {
      sends.add(operation, try SendingThread(operation, flags: flags, inbox: inbox))
      return .elsewhere
    } catch {
      return .notYet(.backOff)
    }
  }

  /// accept4(2) has no flag that means "do not block". Whether it blocks depends on the listener's
  /// open file, whose flags any process that shares it can change. Without `O_NONBLOCK` a thread
  /// makes the call, and only if a connection waits.
  private func accept(_ operation: Operation) -> Attempt {
    let number = operation.descriptor
    if let thread = operation.withSocket({ $0.sharedAccepts.stranded.take() }) ?? nil {
      accepts.add(operation, thread)
      return .elsewhere
    }
    while true {
      guard cms_is_readable(number) else {
        // A socket that does not listen would never get a connection. accept4(2) is not asked for
        // the error: it could block if another process has just called listen(2).
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

  /// The error with which accept4(2) refuses a socket that does not listen; nil if it listens.
  private func refusal(ofAcceptFrom number: Int32) -> Errno? {
    if option(cms_so_acceptconn, of: number) != 0 { return nil }
    let type = option(cms_so_type, of: number)
    let hasConnections = type == cms_socket_stream || type == cms_socket_seqpacket
    return hasConnections ? .invalidArgument : .notSupportedOnSocket
  }

  private func option(_ name: Int32, of number: Int32) -> Int32? {
    var value: Int32 = 0
    var length: UInt32 = 4
    // SAFETY: both pointers lead to local variables.
    let status = unsafe cms_get_option(number, cms_sol_socket, name, &value, &length)
    return status == 0 ? value : nil
  }

  /// connect(2) has no such flag either. The socket is new and belongs to this process, so it gets
  /// `O_NONBLOCK` for the duration of the call. A datagram socket may come from elsewhere, but its
  /// connect(2) never waits.
  private func connect(_ operation: Operation, _ length: UInt32) -> Attempt {
    let number = operation.descriptor
    let wasNonblocking = operation.withSocket { $0.kind } == .datagram || cms_is_nonblocking(number)
    if !wasNonblocking { _ = cms_set_nonblocking(number, true) }
    defer { if !wasNonblocking { _ = cms_set_nonblocking(number, false) } }
    let result = unsafe cms_connect(number, operation.header.pointee.name!, length)
    return switch Errno(rawValue: -result) {
    // TCP is still connecting. Calling connect(2) again reports the result.
    case .nowInProgress, .alreadyInProcess: .notYet(.onReadiness)
    default: .done(result)
    }
  }
}

/// How to wait before trying an operation again.
enum RetryStrategy {
  /// An event always reports readiness.
  case onReadiness
  /// An event reports that there is room. No event reports that the peer has shut down its reading
  /// side, or that another process has shut down our writing side (the kernel raises the event, but
  /// epoll finds nothing ready and drops it), so the operation is also tried from time to time.
  case roomOrShutdown
  /// There is no event: the full queue of an unconnected peer does not show on our socket.
  case backOff

  /// The delay before the first retry; nil if only events cause retries.
  var firstDelay: Duration? {
    switch self {
    case .onReadiness: nil
    case .roomOrShutdown: .milliseconds(16)
    case .backOff: .milliseconds(1)
    }
  }

  /// The next delay, after a retry that came `delay` after the last attempt has failed.
  func delay(after delay: Duration) -> Duration {
    switch self {
    case .onReadiness: delay
    case .roomOrShutdown: min(delay * 2, .milliseconds(512))
    case .backOff: min(delay * 2, .milliseconds(32))
    }
  }
}

/// An operation to try again after a delay, because the kernel may not report readiness.
struct Retry {
  let operation: Operation
  /// Tells whether the slot is still used for this operation when the retry is due.
  let id: OperationID
  let strategy: RetryStrategy
  let delay: Duration
}
