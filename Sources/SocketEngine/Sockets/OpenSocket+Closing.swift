// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension OpenSocket {
  func shutdown(read: Bool, write: Bool) throws(SocketError) {
    precondition(core.isCurrent, "A socket was used outside its loop")
    guard isOpen else { throw SocketError(.closed, .shutdown) }
    let result = cms_shutdown(number, read, write)
    // A connection that the peer has already closed needs no further shutdown.
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

  /// Stops all operations. Returns an event to wait for until the descriptor is closed; nil if it
  /// already is.
  func startClosing() -> Operation? {
    precondition(core.isCurrent, "A socket was used outside its loop")
    if phase != .closingElsewhere, phase != .closed { enter(.closing) }
    file = nil
    stopOperations()
    signalDraining()
    guard descriptor != nil || phase == .closingElsewhere else { return nil }
    return waitForClosing()
  }

  /// Stops all operations. Returns an event to wait for before the descriptor is taken; nil if
  /// there is nothing to wait for.
  func startReleasing() -> Operation? {
    precondition(core.isCurrent, "A socket was used outside its loop")
    enter(.releasing)
    stopOperations()
    return phase == .releasing ? waitForClosing() : nil
  }

  /// Takes the descriptor of a socket whose operations have ended. Nil if prefetched messages are
  /// left, which keeps the socket open, or if it was closed meanwhile.
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
    if phase == .closingElsewhere {
      core.addDeadline(LoopTime(after: Self.patience), to: closed.id)
    }
    return closed
  }

  func finishClosing() {
    guard outgoing.isEmpty, incoming.isEmpty, errors.isEmpty, urgent.isEmpty else { return }
    switch phase {
    case .releasing:
      if multishot.hasPrefetchedMessage {
        enter(.open)
      } else {
        // The descriptor's next owner finds the end again.
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
    // An operation without a request in the kernel was stopped; closing has already continued.
    case .open, .released, .closingElsewhere: return
    }
    signalClosers()
  }

  private func signalClosers() {
    let waiting = closers
    closers = []
    for closer in waiting { core.signal(closer) }
  }

  /// How long ``SocketChannel/close()`` waits for another thread to close the descriptor. That
  /// usually takes microseconds, and then the address is free. But peers decide what is queued in
  /// the socket, and they must not decide how long `close()` takes.
  private static let patience = Duration.seconds(1)

  /// Whether another thread closes the descriptor. Unread messages close with the socket, and so do
  /// a listener's pending connections with their messages.
  var closesElsewhere: Bool { policy != nil || hasUntrustedPeers }

  /// Closes the descriptor in a queue other than that of the received messages, which may be
  /// blocked.
  private func closeElsewhere(_ descriptor: consuming OwnedFd) {
    enter(.closingElsewhere)
    let deadline = LoopTime(after: Self.patience)
    for closer in closers { core.addDeadline(deadline, to: closer) }
    closing.close(descriptor) { [weak self, inbox = core.inbox] in
      inbox.send(.closed { [weak self] in self })
    }
  }

  /// Notes that another thread has closed the descriptor.
  func wasClosed() {
    enter(.closed)
    signalClosers()
  }
}
