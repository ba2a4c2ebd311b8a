// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

// These functions run on the loop's thread, in the caller's isolation.

extension SocketChannel {
  // A task that waits for a message keeps little: everything that needs no wait is in separate
  // functions.

  /// Receives one message with a multishot receive that continues to receive within `window`.
  ///
  /// - Parameter window: The new window, or nil to keep the current one.
  package nonisolated(nonsending) func receiveAhead(window: ReceiveWindow?) async throws
    -> CompletedOperation
  {
    let ended = await (try startReceiveAhead(window: window)).ended()
    // SAFETY: `in` is nil, so nothing is written.
    try unsafe settle(ended, in: nil)
    return ended
  }

  @inline(never)
  func startReceiveAhead(window: ReceiveWindow?) throws -> Operation {
    if let window { socket.setWindow(window) }
    guard socket.mayReceiveAhead else {
      return unsafe try startReceive(into: nil, flags: 0, timeout: nil)
    }
    try socket.checkUse(.receive)
    return nextMessage(flags: 0, timeout: nil, room: .max)
  }

  /// The next prefetched message, or one to wait for; or a copy of it.
  private func nextMessage(flags: Int32, timeout: Duration?, room: Int) -> Operation {
    socket.sendsInARow = 0
    let isPeek = flags & cms_msg_peek != 0
    if let message = socket.nextPrefetched(copying: isPeek, room: room) { return message }
    let waiter = socket.waitForMessage(copying: isPeek, room: room)
    if let timeout { socket.core.addDeadline(LoopTime(after: timeout), to: waiter) }
    return waiter
  }

  /// Receives a message without waiting: a prefetched one if the socket receives ahead, otherwise
  /// one from the socket's queue. Returns nil also for the end and for errors, which the next
  /// receive finds.
  package nonisolated(nonsending) func receiveIfThere() async -> CompletedOperation? {
    guard let operation = startReceiveIfThere() else { return nil }
    let ended = await operation.ended()
    guard ended.isMessage else { return nil }
    return ended
  }

  private func startReceiveIfThere() -> Operation? {
    socket.sendsInARow = 0
    if socket.receivesBehindPrefetched {
      return socket.isOpen && socket.hasPrefetchedMessage
        ? socket.nextPrefetched(copying: false, room: .max) : nil
    }
    // It would have to wait behind a receive that waits.
    return socket.isReceiving
      ? nil : unsafe try? startReceiveNow(into: nil, flags: cms_msg_dontwait, isTry: true)
  }

  /// Receives one message into the caller's memory, which must stay unchanged until this returns; a
  /// prefetched message is copied there. Without `memory`, the engine supplies a buffer and the
  /// payload is copied out.
  ///
  /// - Parameter timeout: How long to wait. A message that has arrived wins even if the time has
  ///   passed.
  @unsafe
  package nonisolated(nonsending) func receive(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, timeout: Duration? = nil
  ) async throws -> CompletedOperation {
    let ended = await (unsafe try startReceive(into: memory, flags: flags, timeout: timeout))
      .ended()
    try unsafe settle(ended, in: memory)
    return ended
  }

  /// Starts a receive, or takes a prefetched message.
  @unsafe
  @inline(never)
  private func startReceive(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, timeout: Duration?
  ) throws -> Operation {
    if socket.receivesBehindPrefetched, flags & (cms_msg_errqueue | cms_msg_oob) == 0 {
      try socket.checkUse(.receive)
      if flags & cms_msg_dontwait != 0, !socket.isPrefetchedNext {
        throw SocketError(.wouldBlock, .receive)
      }
      return nextMessage(flags: flags, timeout: timeout, room: unsafe memory?.count ?? .max)
    }
    let operation = unsafe try startReceiveNow(into: memory, flags: flags)
    if let timeout { socket.core.addDeadline(LoopTime(after: timeout), to: operation) }
    return operation
  }

  @unsafe
  private func startReceiveNow(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, isTry: Bool = false
  ) throws -> Operation {
    let request = socket.core.receiveRequest(flags: socket.receiveFlags(flags))
    let operation = try socket.makeOperation(request, .receive)
    operation.isTry = isTry
    unsafe operation.prepareReceive(into: memory)
    if case .receive = operation.request, socket.core.acquiresReceiveMemoryEarly {
      operation.acquireReceiveMemory()
    }
    socket.start(operation)
    return operation
  }

  /// Completes a receive: copies a message's bytes to the caller's memory, accepts the end, or
  /// throws.
  @unsafe
  @inline(never)
  func settle(_ ended: borrowing CompletedOperation, in memory: UnsafeMutableRawBufferPointer?)
    throws
  {
    if let error = failure(of: ended, .receive) { throw error }
    if let memory = unsafe memory { unsafe ended.settleMessage(in: memory) }
  }

  /// Puts back the piece that was last received from a stream, with the bytes that were not used.
  /// The next receive returns those bytes and everything that came with them. Callable from any
  /// thread; it takes effect before the caller's next use of the socket.
  package func unread(_ piece: consuming OperationOutcome) {
    if isOnLoop {
      socket.unread(piece)
    } else {
      // Sent with the channel, so that the channel's end discards the piece.
      socket.core.inbox.send(.unread(self, UnreadPiece(piece)))
    }
  }

  /// Counts the descriptors that are taken from this socket's messages.
  package var takenDescriptors: TakenDescriptorCounter { socket.core.takenDescriptors }

  package func countTaken(_ count: Int) { socket.core.takenDescriptors.add(count) }
}
