// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

// Draining: the socket's server accepts no more connections, and the socket's handler should
// finish. Receives that were to wait only until then are stopped. Messages that have arrived are
// still delivered one after the other, followed by the end.

extension OpenSocket {
  /// Stops the receives that end with draining. Called after ``markDraining()``.
  func startDraining() {
    precondition(core.isCurrent, "A socket was used outside its loop")
    signalDraining()
    for waiter in multishot.waitersUntilDraining { core.stop(waiter, .draining) }
    for operation in incoming.allWaitingFirst where operation.endsWithDraining {
      core.stop(operation, .draining)
    }
    // Messages that the multishot receive has brought, or is about to bring, come before the end.
    limitReceivingAhead()
  }

  /// Resumes the tasks that wait for the socket to drain.
  func signalDraining() {
    let waiting = drainWaits
    drainWaits = []
    for wait in waiting { core.signal(wait) }
  }

  /// Returns an operation to wait for until the socket drains or is closed; nil if it drains
  /// already.
  func waitUntilDraining() throws -> Operation? {
    try checkStart(.wait)
    if isDraining { return nil }
    // A timer without a deadline, because the loop's end stops a timer but not an event.
    let drained = core.makeOperation(.timer, socket: nil)
    drained.life.submit()
    drainWaits.insert(drained.id)
    return drained
  }
}

extension SocketChannel {
  /// Whether ``startDraining()`` was called. Callable from any thread.
  package var isDraining: Bool { socket.isDraining }

  /// Ends the receives that were to wait only until now. Callable from any thread; does not wait.
  package func startDraining() {
    guard socket.markDraining() else { return }
    if isOnLoop {
      socket.startDraining()
    } else {
      socket.core.inbox.send(.drain(socket))
    }
  }

  /// Returns when ``startDraining()`` is called, or immediately if it already was.
  ///
  /// Call it in the isolation of the loop's actors; it continues there after the wait.
  package nonisolated(nonsending) func waitUntilDraining() async throws {
    guard let drained = try socket.waitUntilDraining() else { return }
    let id = drained.id
    let ended = await drained.ended()
    socket.drainWaits.remove(id)
    if let error = ended.failure(.wait) { throw error }
    guard socket.isDraining else { throw SocketError(.closed, .wait) }
  }

  /// Receives one message as ``receiveAhead(window:)`` does. If the socket drains, returns a
  /// message that has arrived, or nil instead of waiting for one.
  package nonisolated(nonsending) func receiveUntilDraining(window: ReceiveWindow?) async throws
    -> CompletedOperation?
  {
    if !socket.isDraining {
      let operation = try startReceiveAhead(window: window)
      operation.endsWithDraining = true
      let ended = await operation.ended()
      guard ended.wasEndedByDraining else {
        // SAFETY: `in` is nil, so nothing is written.
        try unsafe settle(ended, in: nil)
        return ended
      }
    }
    return try await receiveLast()
  }

  @inline(never)
  private nonisolated(nonsending) func receiveLast() async throws -> CompletedOperation? {
    try socket.checkUse(.receive)
    socket.limitReceivingAhead()
    // Wait for messages that it is about to bring before checking the kernel's queue.
    if socket.isArmed { _ = await socket.waitUntilDisarmed().endedIgnoringCancellation() }
    if let ended = await receiveIfThere() { return ended }
    // An incomplete message has arrived as well; it will be thrown.
    guard socket.isOpen, socket.multishot.firstPrefetched?.isMessage == true else { return nil }
    guard let message = socket.nextPrefetched(copying: false, room: .max) else { return nil }
    return CompletedOperation(message)
  }
}
