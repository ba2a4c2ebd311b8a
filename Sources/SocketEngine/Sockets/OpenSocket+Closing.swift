// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension OpenSocket {
  func shutdown(read: Bool, write: Bool) throws(SocketError) {
    precondition(core.isCurrent, "A socket was used outside its loop")
    guard isOpen else { throw SocketError(.closed, .shutdown) }
    let result = cms_shutdown(number, read, write)
    // A connection that the peer has closed already is shut down as well as can be.
    guard result >= 0 || -result == Errno.socketNotConnected.rawValue else {
      throw SocketError(result: result, .shutdown)
    }
    if read { endReceiving() }
    core.driver.socketWasShutDown(number)
  }

  private func endReceiving() {
    isShutDownForReceiving = true
    guard hasNoEndOfItsOwn else { return }
    stopWaiters(.receivingEnded)
    for operation in incoming.allWaitingFirst { core.stop(operation, .receivingEnded) }
  }

  /// A datagram socket that was shut down for receiving: the kernel does not tell those who wait,
  /// and goes on answering `EAGAIN`.
  var hasNoEndOfItsOwn: Bool { kind == .datagram && isShutDownForReceiving }

  /// Stops all operations. Returns what to wait for until the descriptor is closed; nil if it is
  /// closed.
  func startClosing() -> Operation? {
    precondition(core.isCurrent, "A socket was used outside its loop")
    if phase != .closingElsewhere, phase != .closed { enter(.closing) }
    file = nil
    stopOperations()
    signalDraining()
    guard descriptor != nil || phase == .closingElsewhere else { return nil }
    return waitForClosing()
  }

  /// Stops all operations. Returns what to wait for before the descriptor is taken; nil if nothing.
  func startReleasing() -> Operation? {
    precondition(core.isCurrent, "A socket was used outside its loop")
    enter(.releasing)
    stopOperations()
    return phase == .releasing ? waitForClosing() : nil
  }

  /// The descriptor of a socket whose operations have ended; nil if messages received ahead are
  /// left: then the socket stays open. Also nil if it was closed meanwhile.
  func takeDescriptor() -> OwnedFd? {
    guard phase == .released else { return nil }
    enter(.closed)
    registration = nil
    sharedAccepts = SharedAccepts()
    signalDraining()
    if let file = file.take() { file.keep() }
    return descriptor.take()
  }

  private func stopOperations() {
    stopWaiters(.socketClosed)
    for queue in [outgoing, incoming, errors, urgent] {
      for operation in queue.allWaitingFirst { core.stop(operation, .socketClosed) }
    }
    finishClosing()
  }

  private func waitForClosing() -> Operation {
    let closed = core.makeEvent()
    closers.append(closed.id)
    if phase == .closingElsewhere { core.addDeadline(LoopTime(after: Self.patience), to: closed) }
    return closed
  }

  func finishClosing() {
    guard outgoing.isEmpty, incoming.isEmpty, errors.isEmpty, urgent.isEmpty else { return }
    switch phase {
    case .releasing:
      if multishot.hasPrefetchedMessage {
        enter(.open)
      } else {
        // The end is found again by the descriptor's next owner.
        discardPrefetched()
        enter(.released)
      }
    case .closing, .closed:
      discardPrefetched()
      registration = nil
      sharedAccepts = SharedAccepts()
      if closesElsewhere, let descriptor = descriptor.take() { return closeElsewhere(descriptor) }
      descriptor = nil
      enter(.closed)
    // An operation was stopped that has nothing in the kernel: the end has gone on without it.
    case .open, .released, .closingElsewhere: return
    }
    signalClosers()
  }

  private func signalClosers() {
    let waiting = closers
    closers = []
    for closer in waiting { core.signal(closer) }
  }

  /// How long ``SocketChannel/close()`` waits for another thread to close the descriptor. Almost
  /// always that takes microseconds, and the address is free then; but peers decide what is left in
  /// the socket, and must not decide how long somebody waits for it.
  private static let patience = Duration.seconds(1)

  /// Messages that nobody has received close with the socket, and so do the connections that wait
  /// in a listener, with theirs.
  var closesElsewhere: Bool { policy != nil || hasUntrustedPeers }

  /// Apart from what the socket's messages have brought, which may be held up.
  private func closeElsewhere(_ descriptor: consuming OwnedFd) {
    enter(.closingElsewhere)
    let deadline = LoopTime(after: Self.patience)
    for closer in closers { core.addDeadline(deadline, to: closer) }
    closing.close(descriptor) { [weak self, inbox = core.inbox] in
      inbox.send(.closed { [weak self] in self })
    }
  }

  /// Another thread has closed the descriptor.
  func wasClosed() {
    enter(.closed)
    signalClosers()
  }
}
