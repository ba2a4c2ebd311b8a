// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// Errors of a socket that are reported after its queued messages.
///
/// On sockets that preserve message boundaries, the kernel reports a pending error, such as a
/// reset, before the queued messages; on streams, after them. Here it comes after them on all
/// sockets: the error is kept, and until it has been thrown, no receive waits.
/// ```
/// error ──▶ kept ──receives that do not wait──┬─▶ message: delivered, the error stays
///                                             └─▶ nothing, or the end: the error is thrown,
///                                                 and then the end is found
/// ```
struct PendingErrors {
  private var errors: [Errno] = []
  /// How many messages may still come before the first error is thrown.
  private var patience = 0
  /// Whether a receive has found the end behind the messages. It must be kept, because it may have
  /// been an empty packet, which no later receive would find.
  private var hasEnd = false

  init() {}

  /// The bound on `patience`. A connection's queue ends with its error, but other peers can go on
  /// sending to a datagram socket and must not delay the error forever.
  private static let patience = 16_384

  var isEmpty: Bool { errors.isEmpty && !hasEnd }

  /// Keeps an error. If it is reported again before it was thrown, it is thrown once, as the kernel
  /// does.
  mutating func keep(_ errno: Errno) {
    if errors.isEmpty { patience = Self.patience }
    if !errors.contains(errno) { errors.append(errno) }
  }

  func contains(_ errno: Errno) -> Bool { errors.contains(errno) }

  mutating func takeFirst() -> Errno? {
    guard !errors.isEmpty else { return nil }
    patience = Self.patience
    return errors.removeFirst()
  }

  /// Notes that a message came before the errors.
  mutating func noteMessage() { patience -= 1 }

  mutating func noteEnd() { hasEnd = true }

  /// Whether no more messages come first: the end was found, or enough messages have come.
  var isDue: Bool { hasEnd || !errors.isEmpty && patience <= 0 }

  /// The outcome of a receive that does not go to the kernel because an error or the end is due;
  /// nil if neither is.
  mutating func takeDue(for operation: Operation) -> OperationOutcome? {
    guard isDue, operation.request.receivesMessages else { return nil }
    var outcome = OperationOutcome()
    if operation.isTry {
      outcome.errno = .wouldBlock
    } else if let errno = takeFirst() {
      outcome.errno = errno
    } else {
      outcome.isEnd = true
      if !operation.request.isPeek { hasEnd = false }
    }
    return outcome
  }
}

extension Errno {
  /// Whether the error was caused by the call itself or by a temporary shortage, and was not
  /// pending on the socket.
  fileprivate var isOfTheCall: Bool {
    switch self {
    case .invalidArgument, .badAddress, .badFileDescriptor, .notSocket, .socketNotConnected,
      .noMemory, .permissionDenied, .notPermitted, .canceled, .wouldBlock:
      true
    default: false
    }
  }
}

extension Operation {
  /// Prepares an operation whose turn has come while errors are pending: a receive must not wait.
  /// Returns false if the operation has ended instead.
  func goesBehindErrors() -> Bool {
    switch request {
    case .receive(let flags) where request.receivesMessages:
      request = .receive(flags: flags | cms_msg_dontwait)
    case .receiveWhenReadable(let flags):
      request = .receive(flags: flags | cms_msg_dontwait)
      acquireReceiveMemory()
    case .receiveAhead:
      // The tasks that wait for it receive one message each.
      withCore { $0.stop(self, .windowFull) }
      return false
    default: break
    }
    return true
  }

  /// Handles the error of a message receive. Returns the error for its task, or nil if the receive
  /// must be tried again.
  func errorBehindMessages(_ errno: Errno, on socket: OpenSocket) -> Errno? {
    if socket.kind == .stream { return errno }
    if errno == .wouldBlock {
      return isTry ? errno : socket.pendingErrors.takeFirst() ?? errno
    }
    if errno.isOfTheCall { return errno }
    let isKnown = socket.pendingErrors.contains(errno)
    socket.pendingErrors.keep(errno)
    // A stopped receive leaves the error to the next one.
    guard life.mayContinue else { return .canceled }
    if isTry, isKnown { return .wouldBlock }
    if isKnown { return socket.pendingErrors.takeFirst() }
    return nil
  }

  /// Handles a message or the end that a receive has brought while errors are pending.
  func settlePendingErrors(of socket: OpenSocket) {
    guard request.receivesMessages else { return }
    if outcome.isEnd {
      if !request.isPeek { socket.pendingErrors.noteEnd() }
      outcome.errno = isTry ? .wouldBlock : socket.pendingErrors.takeFirst()
      assert(outcome.errno != nil, "A receive went to the kernel with only the end pending")
      outcome.isEnd = outcome.errno == nil
    } else if !request.isPeek {
      socket.pendingErrors.noteMessage()
    }
  }
}

extension OpenSocket {
  /// Keeps the error that ended a multishot receive, if it must come after the queued messages.
  /// Returns whether it was kept.
  func keepsBehindMessages(_ errno: Errno) -> Bool {
    if kind == .stream || errno.isOfTheCall { return false }
    pendingErrors.keep(errno)
    return true
  }
}
