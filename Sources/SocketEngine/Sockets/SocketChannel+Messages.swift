// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
package import SystemPackage

// What a socket does with messages. All of it runs on the loop's thread, in the caller's isolation.

extension SocketChannel {
  /// Sends one message: all of it, or an error that says how much of it went out. The caller keeps
  /// payload and descriptors as they are until this returns.
  ///
  /// - Parameters:
  ///   - name: the address to send to, encoded; empty for the peer of a connected socket.
  ///   - timeout: how long to wait; what can be sent without a wait is sent also if that has
  ///     passed.
  package nonisolated(nonsending) func send(
    _ payload: PayloadBytes, numbers: Span<FileDescriptor>, control: ControlMessageBuffer,
    to name: RawSpan = RawSpan(), flags: Int32,
    timeout: Duration? = nil
  ) async throws {
    guard
      let operation = try startSend(
        payload, numbers: numbers, control: control, name: name, flags: flags)
    else { return }
    if let timeout { socket.core.addDeadline(LoopTime(after: timeout), to: operation) }
    let result = await operation.endedSoon().takeResult()
    if result.errno != nil { throw sendError(result, name: name, numbers: numbers) }
  }

  private func sendError(_ result: OperationResult, name: RawSpan, numbers: Span<FileDescriptor>)
    -> any Error
  {
    let address = unsafe AnySocketAddress(systemBytes: name.withUnsafeBytes { unsafe Array($0) })
    // EINVAL has other causes as well: a control message that is none, flags.
    return naming(
      result.failure(
        .send, address: address, hadRing: result.errno == .invalidArgument && numbers.containsRing)!
    )
  }

  /// Nil if there is nothing to send.
  private func startSend(
    _ payload: PayloadBytes, numbers: Span<FileDescriptor>, control: ControlMessageBuffer,
    name: RawSpan, flags: Int32
  ) throws -> Operation? {
    if socket.kind == .stream, payload.byteCount == 0 {
      guard numbers.isEmpty, control.isEmpty else { throw SocketError(.emptyPayload, .send) }
      // sendmsg(2) would do nothing and say 0.
      try socket.checkStart(.send)
      return nil
    }
    guard payload.pieceCount <= OperationMemory.maximumVectors else {
      throw SocketError(
        .messageTooLarge, .send,
        detail: "\(payload.pieceCount) buffers of at most \(OperationMemory.maximumVectors)")
    }
    // The kernel adds up those of all control messages, and would say EINVAL.
    let count = numbers.count + control.descriptorCount
    if count > ControlMessages.maximumDescriptors {
      throw SocketError(
        .tooManyDescriptors, .send,
        detail: "\(count) of at most \(ControlMessages.maximumDescriptors)")
    }
    let pause: SendBackoff? =
      socket.mayFindReceiverFull(hasAddress: name.byteCount > 0) && flags & cms_msg_dontwait == 0
      ? .first : nil
    // The kernel is not told: it could be stopped in the midst of finishing by itself.
    let operation = try socket.makeOperation(
      .send(flags: flags & ~cms_msg_waitall | cms_msg_nosignal, pause: pause), .send)
    if flags & cms_msg_waitall != 0, socket.kind == .stream {
      operation.life.finishesOnceBegun = true
    }
    do {
      // The unnamed address: for a socket without a name, or a bind(2) that is to choose one.
      if name.byteCount == 2 {
        try unsafe checkDestination(
          AnySocketAddress(systemBytes: name.withUnsafeBytes { unsafe Array($0) }), .send)
      }
      operation.setPayload(payload)
      try operation.prepareSend(numbers: numbers, control: control, name: name, on: socket.core)
    } catch {
      operation.discard(on: socket.core)
      throw error
    }
    socket.start(operation)
    return operation
  }

  /// What to throw, if an operation has failed.
  private func failure(
    of ended: borrowing CompletedOperation, _ operation: SocketError.Operation,
    address: AnySocketAddress? = nil
  ) -> (
    any Error
  )? {
    ended.failure(operation, address: address).map { naming($0) }
  }

  /// The error with the socket's name, if it is still open; but for those that are no faults, and
  /// may be many. May be called from any thread, as by a task that does not belong to the loop.
  package func naming(_ error: any Error) -> any Error {
    guard isOnLoop, socket.isOpen, var error = error as? SocketError, error.code != .wouldBlock,
      error.code != .deadlineExceeded
    else {
      return error
    }
    error.socket = SocketIdentity(socket.number, kind: kind)
    if error.code == .loopFailed { error.errno = socket.core.failure }
    return error
  }

  private func checkDestination(_ address: AnySocketAddress?, _ operation: SocketError.Operation)
    throws(SocketError)
  {
    guard let address, address.unix == .unnamed else { return }
    throw SocketError(
      .addressNotAvailable, operation, address: address,
      detail: "a socket without a name cannot be reached by an address")
  }

  // What a task keeps while it waits for a message stays small: all that can be done without
  // waiting is in functions of its own.

  /// Receives one message, by a multishot receive that goes on receiving within `window`.
  ///
  /// - Parameter window: nil leaves it as it is.
  package nonisolated(nonsending) func receiveAhead(window: ReceiveWindow?) async throws
    -> CompletedOperation
  {
    let ended = await (try startReceiveAhead(window: window)).ended()
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

  /// Accepts one connection.
  package nonisolated(nonsending) func accept() async throws -> OwnedFd {
    let operation = try socket.makeOperation(.accept, .accept)
    socket.start(operation)
    let ended = await operation.ended()
    if let error = failure(of: ended, .accept) { throw error }
    var outcome = ended.takeOutcome()
    return outcome.descriptors.takeFirst()!
  }

  /// Connects to an address; while the listener's queue is full it tries again, after 1, 2, 4 … 32
  /// ms: the kernel does not tell when there is room.
  ///
  /// A ring would wait for room on a kernel thread for each connection, and a cancellation that
  /// comes before that thread sleeps is lost (seen on Linux 6.18). With `O_NONBLOCK` on the socket
  /// it says `EAGAIN` instead. Such a socket is new and nobody else's, and the flag is off again
  /// before anyone gets it. Datagram sockets, which may come from elsewhere, have no queue to wait
  /// for, and keep their flags.
  package nonisolated(nonsending) func connect(to address: AnySocketAddress) async throws {
    try checkDestination(address, .connect)
    socket.connectsElsewhere()
    guard address.family == cms_family_unix, kind != .datagram else {
      return try await connectOnce(to: address)
    }
    var pause = Duration.milliseconds(1)
    _ = cms_set_nonblocking(try number(for: .connect), true)
    // Its number is another's once it is closed.
    defer { if socket.isOpen { _ = cms_set_nonblocking(socket.number, false) } }
    while true {
      do {
        return try await connectOnce(to: address)
      } catch let error as SocketError where error.errno == .resourceTemporarilyUnavailable {
        try await socket.core.sleep(for: pause)
        pause = min(pause * 2, .milliseconds(32))
      }
    }
  }

  private nonisolated(nonsending) func connectOnce(to address: AnySocketAddress) async throws {
    let operation = try socket.makeOperation(
      .connect(nameLength: UInt32(address.bytes.count)), .connect)
    // SAFETY: an array of bytes has no padding.
    unsafe operation.setName(address.bytes.span.bytes)
    socket.start(operation)
    let ended = await operation.ended()
    if let error = failure(of: ended, .connect, address: address) { throw error }
  }
}

extension Span<FileDescriptor> {
  /// Whether an io_uring is among them, which Linux refuses to send: asked when it has refused.
  fileprivate var containsRing: Bool {
    indices.contains { self[$0].shownName == "anon_inode:[io_uring]" }
  }
}
