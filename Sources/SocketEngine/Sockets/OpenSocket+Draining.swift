// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

// The socket's server accepts no more, and whoever handles the socket is to come to an end.
// Receives that were asked to wait until then only are stopped; what has arrived is still
// delivered, one message after the other, and then there is the end.

extension OpenSocket {
  /// ``markDraining()`` was called.
  func startDraining() {
    precondition(core.isCurrent, "A socket was used outside its loop")
    signalDraining()
    for waiter in multishot.waitersUntilDraining { core.stop(waiter, .draining) }
    for operation in incoming.allWaitingFirst where operation.endsWithDraining {
      core.stop(operation, .draining)
    }
    // What it has brought, or is about to bring, comes before the end.
    limitReceivingAhead()
  }

  /// The tasks that wait for it go on.
  func signalDraining() {
    let waiting = drainWaits
    drainWaits = []
    for wait in waiting { core.signal(wait) }
  }

  /// What to wait for until the socket drains, or is closed; nil if it drains already.
  func waitUntilDraining() throws -> Operation? {
    try checkStart(.wait)
    if isDraining { return nil }
    // A timer without a deadline: the loop's end stops it, which it does not do with an event.
    let drained = core.makeOperation(.timer, socket: nil)
    drained.life.submit()
    drainWaits.insert(drained.id)
    return drained
  }
}

extension SocketChannel {
  /// Whether ``startDraining()`` was called. From any thread.
  package var isDraining: Bool { socket.isDraining }

  /// Lets the receives end that were to wait until then. From any thread, and without a wait.
  package func startDraining() {
    guard socket.markDraining() else { return }
    if isOnLoop {
      socket.startDraining()
    } else {
      socket.core.inbox.send(.drain(socket))
    }
  }

  /// Returns when ``startDraining()`` is called, or was before.
  ///
  /// To be called in the isolation of the loop's actors, where it also goes on after the wait.
  ///
  /// - Throws: ``SocketError``: `closed`, `loopShutDown`, `loopFailed`; `CancellationError`.
  package nonisolated(nonsending) func waitUntilDraining() async throws {
    guard let drained = try socket.waitUntilDraining() else { return }
    let id = drained.id
    let ended = await drained.ended()
    socket.drainWaits.remove(id)
    if let error = ended.failure(.wait) { throw error }
    guard socket.isDraining else { throw SocketError(.closed, .wait) }
  }

  /// Receives one message as ``receiveAhead(window:)`` does. When the socket drains: one that has
  /// arrived, and nil instead of a wait for one that has not.
  package nonisolated(nonsending) func receiveUntilDraining(window: ReceiveWindow?) async throws
    -> CompletedOperation?
  {
    if !socket.isDraining {
      let operation = try startReceiveAhead(window: window)
      operation.endsWithDraining = true
      let ended = await operation.ended()
      guard ended.wasEndedByDraining else {
        // SAFETY: without memory of the caller's nothing is written.
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
    // What it is about to bring is there before the kernel's queue is looked at.
    if socket.isArmed { _ = await socket.waitUntilDisarmed().endedIgnoringCancellation() }
    if let ended = await receiveIfThere() { return ended }
    // A message of which something is missing has arrived as well, to be thrown.
    guard socket.isOpen, socket.multishot.firstPrefetched?.isMessage == true else { return nil }
    guard let message = socket.nextPrefetched(copying: false, room: .max) else { return nil }
    return CompletedOperation(message)
  }
}
