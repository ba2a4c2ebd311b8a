// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// Errors of a socket that come behind its queued messages.
///
/// On sockets that keep messages apart the kernel reports a pending error, as a reset, before the
/// messages that are queued; on streams after them. Here it comes after them everywhere: it is
/// kept, and until it has been thrown no receive waits.
/// ```
/// error ──▶ kept ──receives that do not wait──┬─▶ message: delivered, the error stays
///                                             └─▶ nothing, or the end: the error is thrown,
///                                                 and then the end is found
/// ```
struct PendingErrors {
  private var errors: [Errno] = []
  /// How many messages may still come before the first error is thrown.
  private var patience = 0
  /// A receive has found the end behind the messages. It may have been an empty packet, which
  /// nobody would find again.
  private var hasEnd = false

  init() {}

  /// A connection's queue ends with its error. To a datagram socket others can go on sending, and
  /// must not keep the error back for ever.
  private static let patience = 16_384

  var isEmpty: Bool { errors.isEmpty && !hasEnd }

  /// Keeps an error. One that is reported again before it was thrown is thrown once, as by the
  /// kernel.
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

  /// A message has come before them.
  mutating func noteMessage() { patience -= 1 }

  mutating func noteEnd() { hasEnd = true }

  /// Whether no more messages come first: the end was found, or they have for long enough.
  var isDue: Bool { hasEnd || !errors.isEmpty && patience <= 0 }

  /// What a receive finds without the kernel, if something is due.
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
  /// Whether it is a call's own fault, or a passing shortage, and not an error that was pending on
  /// the socket.
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
  /// Makes an operation whose turn has come ready for the kernel, while errors are pending: a
  /// receive must not wait. False if it has ended instead.
  func goesBehindErrors() -> Bool {
    switch request {
    case .receive(let flags) where request.receivesMessages:
      request = .receive(flags: flags | cms_msg_dontwait)
    case .receiveWhenReadable(let flags):
      request = .receive(flags: flags | cms_msg_dontwait)
      acquireReceiveMemory()
    case .receiveAhead:
      // Its waiters receive one by one.
      withCore { $0.stop(self, .windowFull) }
      return false
    default: break
    }
    return true
  }

  /// A receive of messages has failed. What to tell its task; nil if it is to be tried once more.
  func errorBehindMessages(_ errno: Errno, on socket: OpenSocket) -> Errno? {
    if socket.kind == .stream { return errno }
    if errno == .wouldBlock {
      return isTry ? errno : socket.pendingErrors.takeFirst() ?? errno
    }
    if errno.isOfTheCall { return errno }
    let isKnown = socket.pendingErrors.contains(errno)
    socket.pendingErrors.keep(errno)
    // A receive that was stopped leaves it to the next.
    guard life.mayContinue else { return .canceled }
    if isTry, isKnown { return .wouldBlock }
    if isKnown { return socket.pendingErrors.takeFirst() }
    return nil
  }

  /// A receive has brought a message, or the end, while errors are pending.
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
  /// A multishot receive has ended with an error. Whether it comes behind what is queued.
  func keepsBehindMessages(_ errno: Errno) -> Bool {
    if kind == .stream || errno.isOfTheCall { return false }
    pendingErrors.keep(errno)
    return true
  }
}
