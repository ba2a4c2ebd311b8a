package import Ancillary
internal import CMessageSockets
package import SystemPackage

// What a socket does with messages. All of it runs on the loop's thread, in the caller's isolation.

extension SocketChannel {
  /// Sends one message: all of it, or an error that says how much of it went out. The caller keeps payload and descriptors as they
  /// are until this returns.
  ///
  /// - Parameter name: the address to send to, encoded; empty for the peer of a connected socket.
  package nonisolated(nonsending) func send(
    _ payload: RawSpan, numbers: Span<FileDescriptor>, control: ControlMessageBuffer, to name: RawSpan = RawSpan(), flags: Int32
  ) async throws {
    guard
      let operation = try makeSend(
        byteCount: payload.byteCount, numbers: numbers, control: control, hasAddress: name.byteCount > 0, flags: flags)
    else { return }
    operation.setPayload(payload)
    try startSend(operation, numbers: numbers, control: control, name: name)
    let result = await operation.resultSoon()
    if result.errno != nil { throw sendError(result, name: name, numbers: numbers) }
  }

  /// The same for a payload that is gathered from several pieces.
  package nonisolated(nonsending) func send(
    gathering pieces: borrowing GatherBuffers, numbers: Span<FileDescriptor>, control: ControlMessageBuffer, to name: RawSpan, flags: Int32
  ) async throws {
    guard pieces.count <= OperationMemory.maximumVectors else {
      throw SocketError(.messageTooLarge, .send, detail: "\(pieces.count) buffers of at most \(OperationMemory.maximumVectors)")
    }
    guard
      let operation = try makeSend(
        byteCount: pieces.byteCount, numbers: numbers, control: control, hasAddress: name.byteCount > 0, flags: flags)
    else { return }
    operation.setPayload(pieces)
    try startSend(operation, numbers: numbers, control: control, name: name)
    let result = await operation.resultSoon()
    if result.errno != nil { throw sendError(result, name: name, numbers: numbers) }
  }

  private func sendError(_ result: OperationResult, name: RawSpan, numbers: Span<FileDescriptor>) -> any Error {
    let address = unsafe AnySocketAddress(systemBytes: name.withUnsafeBytes { unsafe Array($0) })
    // EINVAL has other causes as well: a control message that is none, flags.
    return naming(result.failure(.send, address: address, hadRing: result.errno == .invalidArgument && numbers.containsRing)!)
  }

  /// Nil if there is nothing to send.
  private func makeSend(
    byteCount: Int, numbers: Span<FileDescriptor>, control: ControlMessageBuffer, hasAddress: Bool, flags: Int32
  ) throws -> Operation? {
    if socket.kind == .stream, byteCount == 0 {
      guard numbers.isEmpty, control.isEmpty else { throw SocketError(.emptyPayload, .send) }
      // sendmsg(2) would do nothing and say 0.
      try socket.checkStart(.send)
      return nil
    }
    if numbers.count > ControlMessages.maximumDescriptors {
      throw SocketError(.tooManyDescriptors, .send, detail: "\(numbers.count) of at most \(ControlMessages.maximumDescriptors)")
    }
    let pause: SendPause? = socket.mayFindReceiverFull(hasAddress: hasAddress) && flags & cms_msg_dontwait == 0 ? .first : nil
    return try socket.makeOperation(.send(flags: flags | cms_msg_nosignal, pause: pause), .send)
  }

  private func startSend(
    _ operation: Operation, numbers: Span<FileDescriptor>, control: ControlMessageBuffer, name: RawSpan
  ) throws {
    do {
      // The unnamed address: for a socket without a name, or a bind(2) that is to choose one.
      if name.byteCount == 2 {
        try unsafe checkDestination(AnySocketAddress(systemBytes: name.withUnsafeBytes { unsafe Array($0) }), .send)
      }
      try operation.prepareSend(numbers: numbers, control: control, name: name, on: socket.core)
    } catch {
      operation.discard(on: socket.core)
      throw error
    }
    socket.start(operation)
  }

  private func failure(
    of outcome: borrowing OperationOutcome, _ operation: SocketError.Operation, address: AnySocketAddress? = nil
  ) -> (any Error)? {
    outcome.failure(operation, address: address).map { naming($0) }
  }

  /// The error with the socket's name, if it is still open; but for those that are no faults, and may be many. May be called from any thread, as by a task that does not belong to
  /// the loop.
  private func naming(_ error: any Error) -> any Error {
    guard isOnLoop, socket.isOpen, var error = error as? SocketError, error.code != .wouldBlock, error.code != .deadlineExceeded else {
      return error
    }
    error.socket = SocketIdentity(socket.number, kind: kind)
    if error.code == .loopFailed { error.errno = socket.core.failure }
    return error
  }

  private func checkDestination(_ address: AnySocketAddress?, _ operation: SocketError.Operation) throws(SocketError) {
    guard let address, address.unix == .unnamed else { return }
    throw SocketError(.addressNotAvailable, operation, address: address, detail: "a socket without a name cannot be reached by an address")
  }

  /// Receives one message, by a multishot receive that goes on receiving within `window`.
  ///
  /// - Parameter window: nil leaves it as it is.
  package nonisolated(nonsending) func receiveAhead(window: ReceiveWindow?) async throws -> OperationOutcome {
    if let window { socket.setWindow(window) }
    guard socket.mayReceiveAhead else { return unsafe try await receive(into: nil, flags: 0) }
    try socket.checkUse(.receive)
    return try await nextMessage()
  }

  /// The next message of those that are, or will be, received ahead, or a copy of it.
  @inline(__always)
  private nonisolated(nonsending) func nextMessage(
    flags: Int32 = 0, timeout: Duration? = nil, room: Int = .max
  ) async throws -> OperationOutcome {
    var outcome: OperationOutcome
    if let next = socket.nextAhead(copying: flags & cms_msg_peek != 0, room: room) {
      outcome = next
    } else {
      let waiter = socket.waitForMessage(copying: flags & cms_msg_peek != 0, room: room)
      if let timeout { socket.core.addDeadline(LoopTime(after: timeout), to: waiter) }
      outcome = await waiter.finalOutcome()
    }
    if let error = failure(of: outcome, .receive) { throw error }
    // Received ahead, a message always says how long it was.
    if flags & cms_msg_trunc == 0 { outcome.byteCount = outcome.payload.count }
    return outcome
  }

  /// A message that can be had without waiting: one received ahead, or where nothing is received ahead, one from the socket's queue. Nil also for the end and
  /// for errors, which the next receive finds.
  package nonisolated(nonsending) func receiveIfThere() async -> OperationOutcome? {
    if socket.receivesInOrderAhead {
      guard socket.isOpen, socket.hasMessageAhead, var outcome = socket.nextAhead(copying: false, room: .max) else { return nil }
      outcome.byteCount = outcome.payload.count
      return outcome
    }
    // Behind a receive that waits it would have to wait, too.
    guard !socket.isReceiving, let operation = unsafe try? startReceive(into: nil, flags: cms_msg_dontwait, isTry: true) else { return nil }
    let outcome = await operation.finalOutcome()
    guard outcome.isMessage else { return nil }
    return outcome
  }

  /// Receives one message into the caller's memory, if it brings some, which stays as it is until this returns; what has been received ahead is copied there. Without, into memory that the
  /// engine lends, and the payload is copied out.
  ///
  /// - Parameter timeout: how long to wait; a message that has arrived wins also against a time that has passed.
  @unsafe
  package nonisolated(nonsending) func receive(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, timeout: Duration? = nil
  ) async throws -> OperationOutcome {
    // Two functions, because the task keeps their memory for as long as it waits.
    if socket.receivesInOrderAhead, flags & (cms_msg_errqueue | cms_msg_oob) == 0 {
      return unsafe try await receiveInOrder(into: memory, flags: flags, timeout: timeout)
    }
    let operation = unsafe try startReceive(into: memory, flags: flags)
    if let timeout { socket.core.addDeadline(LoopTime(after: timeout), to: operation) }
    let outcome = await operation.finalOutcome()
    if let error = failure(of: outcome, .receive) { throw error }
    if let memory = unsafe memory { unsafe memory.copyBytes(from: outcome.payload.prefix(memory.count)) }
    return outcome
  }

  /// The same behind messages that have been received ahead.
  @unsafe
  private nonisolated(nonsending) func receiveInOrder(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, timeout: Duration?
  ) async throws -> OperationOutcome {
    try socket.checkUse(.receive)
    if flags & cms_msg_dontwait != 0, !socket.isNextAhead { throw SocketError(.wouldBlock, .receive) }
    let outcome = try await nextMessage(flags: flags, timeout: timeout, room: unsafe memory?.count ?? .max)
    if let memory = unsafe memory { unsafe memory.copyBytes(from: outcome.payload.prefix(memory.count)) }
    return outcome
  }

  @unsafe
  private func startReceive(into memory: UnsafeMutableRawBufferPointer?, flags: Int32, isTry: Bool = false) throws -> Operation {
    let flags = flags | cms_msg_cmsg_cloexec | (socket.hasNoEndOfItsOwn ? cms_msg_dontwait : 0)
    let operation = try socket.makeOperation(socket.core.receiveRequest(flags: flags), .receive)
    operation.isTry = isTry
    unsafe operation.prepareReceive(into: memory)
    if case .receive = operation.request, socket.core.lendsReceiveMemoryEarly { operation.lendReceiveMemory() }
    socket.start(operation)
    return operation
  }

  /// Accepts one connection.
  package nonisolated(nonsending) func accept() async throws -> OwnedFd {
    let operation = try socket.makeOperation(.accept, .accept)
    socket.start(operation)
    var outcome = await operation.finalOutcome()
    if let error = failure(of: outcome, .accept) { throw error }
    return outcome.descriptors.takeFirst()!
  }

  /// Connects to an address; while the listener's queue is full it tries again, after 1, 2, 4 … 32 ms: the kernel does not tell when there is room.
  ///
  /// A ring would wait for room on a kernel thread for each connection, and a cancellation that comes before that thread sleeps is lost (seen on Linux 6.18). With `O_NONBLOCK` on
  /// the socket it says `EAGAIN` instead. Such a socket is new and nobody else's, and the flag is off again before anyone gets it. Datagram sockets, which may come from elsewhere, have no
  /// queue to wait for, and keep their flags.
  package nonisolated(nonsending) func connect(to address: AnySocketAddress) async throws {
    try checkDestination(address, .connect)
    socket.connectsElsewhere()
    guard address.family == cms_family_unix, kind != .datagram else { return try await connectOnce(to: address) }
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
    let operation = try socket.makeOperation(.connect(nameLength: UInt32(address.bytes.count)), .connect)
    // SAFETY: an array of bytes has no padding.
    unsafe operation.setName(address.bytes.span.bytes)
    socket.start(operation)
    let outcome = await operation.finalOutcome()
    if let error = failure(of: outcome, .connect, address: address) { throw error }
  }
}
