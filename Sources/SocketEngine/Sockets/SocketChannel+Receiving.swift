// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

// On the loop's thread, in the caller's isolation.

extension SocketChannel {
  // What a task keeps while it waits for a message stays small: all that can be done without
  // waiting is in functions of its own.

  /// Receives one message, by a multishot receive that goes on receiving within `window`.
  ///
  /// - Parameter window: nil leaves it as it is.
  package nonisolated(nonsending) func receiveAhead(window: ReceiveWindow?) async throws
    -> CompletedOperation
  {
    let ended = await (try startReceiveAhead(window: window)).ended()
    // SAFETY: without memory of the caller's nothing is written.
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

  /// The next message of those that are, or will be, received ahead, or a copy of it.
  private func nextMessage(flags: Int32, timeout: Duration?, room: Int) -> Operation {
    socket.sendsInARow = 0
    let isPeek = flags & cms_msg_peek != 0
    if let message = socket.nextPrefetched(copying: isPeek, room: room) { return message }
    let waiter = socket.waitForMessage(copying: isPeek, room: room)
    if let timeout { socket.core.addDeadline(LoopTime(after: timeout), to: waiter) }
    return waiter
  }

  /// A message that can be had without waiting: one received ahead, or where nothing is received
  /// ahead, one from the socket's queue. Nil also for the end and for errors, which the next
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
    // Behind a receive that waits it would have to wait, too.
    return socket.isReceiving
      ? nil : unsafe try? startReceiveNow(into: nil, flags: cms_msg_dontwait, isTry: true)
  }

  /// Receives one message into the caller's memory, if it brings some, which stays as it is until
  /// this returns; what has been received ahead is copied there. Without, into memory that the
  /// engine lends, and the payload is copied out.
  ///
  /// - Parameter timeout: how long to wait; a message that has arrived wins also against a time
  ///   that has passed.
  @unsafe
  package nonisolated(nonsending) func receive(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, timeout: Duration? = nil
  ) async throws -> CompletedOperation {
    let ended = await (unsafe try startReceive(into: memory, flags: flags, timeout: timeout))
      .ended()
    try unsafe settle(ended, in: memory)
    return ended
  }

  /// Starts a receive, or takes a message that has been received ahead.
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

  /// A receive has ended: with a message, whose bytes are put where they belong, or with the end;
  /// or it throws.
  @unsafe
  @inline(never)
  func settle(_ ended: borrowing CompletedOperation, in memory: UnsafeMutableRawBufferPointer?)
    throws
  {
    if let error = failure(of: ended, .receive) { throw error }
    if let memory = unsafe memory { unsafe ended.settleMessage(in: memory) }
  }

  /// Gives back the piece that was received last from a stream, and not used up: the next receive
  /// returns what is left of its bytes, and what came with it. From any thread; what the caller
  /// does with the socket next comes after it.
  package func unread(_ piece: consuming OperationOutcome) {
    if isOnLoop {
      socket.unread(piece)
    } else {
      // With the channel, so that its end finds them.
      socket.core.inbox.send(.unread(self, UnreadPiece(piece)))
    }
  }

  /// Counts what is taken out of this socket's messages.
  package var takenDescriptors: TakenDescriptorCounter { socket.core.takenDescriptors }

  package func countTaken(_ count: Int) { socket.core.takenDescriptors.add(count) }
}
