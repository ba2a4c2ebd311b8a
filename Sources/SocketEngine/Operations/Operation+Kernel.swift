// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

// Filling an operation's memory before it is submitted.

extension Operation {
  /// Points the header at a payload that the awaiting task keeps alive.
  @inline(__always)
  func setPayload(_ payload: PayloadBytes) {
    // SAFETY: the caller borrows the payload until it has awaited the final completion.
    if let bytes = unsafe payload.onlyPiece {
      unsafe memory.setPayload(UnsafeMutableRawBufferPointer(mutating: bytes))
    } else {
      setPieces(payload)
    }
  }

  private func setPieces(_ payload: PayloadBytes) {
    let pieces = payload.pieceCount
    let vectors =
      unsafe pieces > OperationMemory.inlineVectors
      ? buffers.allocateVectors(count: pieces) : memory.vectors
    var count = 0
    // SAFETY: as above; there is room for one vector per piece.
    unsafe payload.forEachPiece { piece in
      unsafe vectors[count] = cms_iovec(
        base: UnsafeMutableRawPointer(mutating: piece.baseAddress), length: piece.count)
      count += 1
    }
    unsafe memory.setPayload(vectors, count: count)
  }

  /// Encodes descriptors and control messages, and copies the address to send to. Call after the
  /// payload is set.
  func prepareSend(
    numbers: Span<FileDescriptor>, control: borrowing ControlMessageBuffer, name: RawSpan,
    on core: LoopCore
  ) throws(AncillaryError) {
    if name.byteCount > 0 { setName(name) }
    let rightsSpace = numbers.isEmpty ? 0 : ControlMessages.space(forDescriptors: numbers.count)
    let needed = rightsSpace + control.byteCount
    guard needed > 0 else { return unsafe memory.setControl(nil) }
    let block =
      needed <= core.controlBuffers.blockSize
      ? unsafe buffers.acquireControl(from: core) : unsafe buffers.allocateExtra(byteCount: needed)
    let rights = unsafe try ControlMessages.encodeRights(numbers, into: block)
    unsafe block[rights...].copyBytes(from: control.bytes)
    unsafe memory.setControl(UnsafeMutableRawBufferPointer(rebasing: block[..<needed]))
  }

  /// Makes the operation receive into the caller's memory, which the caller keeps alive. Without
  /// such memory, it receives at most `room` bytes into a block of the engine.
  func prepareReceive(into buffer: UnsafeMutableRawBufferPointer?, room: Int = .max) {
    if let buffer = unsafe buffer { unsafe memory.setPayload(buffer) } else { memory.setRoom(room) }
  }

  /// How many bytes a receive has room for.
  var receiveRoom: Int { unsafe memory.vectors[0].length }

  /// Acquires what a receive needs to take a message. Until then it holds no memory except the
  /// slot.
  func acquireReceiveMemory() {
    withCore { core in
      if unsafe memory.payloadStart == nil {
        let room = receiveRoom
        let block = unsafe buffers.acquirePayload(from: core)
        unsafe memory.setPayload(
          UnsafeMutableRawBufferPointer(rebasing: block[..<min(block.count, room)]))
      }
      unsafe memory.setControl(buffers.acquireControl(from: core))
      if mayLeaveControlOfVainTries {
        // SAFETY: the kernel has not been given the block yet.
        unsafe buffers.control!.initializeMemory(as: UInt8.self, repeating: 0)
      }
    }
    if withSocket({ $0.namesSenders })! { setNameRoom() }
  }

  /// Whether a failed attempt may leave control data behind. Linux (seen on 6.18) writes zeroed
  /// credentials into the control data of a stream with `SO_PASSCRED` when io_uring finds nothing
  /// to receive. When something arrives, it continues behind them, and reports only the length of
  /// the new control data.
  var mayLeaveControlOfVainTries: Bool {
    withCore { $0.acquiresReceiveMemoryEarly } && withSocket { $0.kind == .stream } == true
  }

  /// Releases the memory when there was nothing to receive; the operation waits on without it.
  func releaseReceiveMemory() {
    if unsafe buffers.payload != nil { memory.setRoom(receiveRoom) }
    withCore { buffers.release(to: $0) }
  }

  /// Lets the kernel write the sender's address.
  private func setNameRoom() {
    // SAFETY: the operation's own memory, which stays valid until the final completion.
    unsafe header.pointee.name = memory.reserveName()
    unsafe header.pointee.name_length = UInt32(OperationMemory.nameCapacity)
  }

  /// How many bytes of a shared buffer are reserved for the sender's address.
  var receivedNameSize: Int { Int(unsafe header.pointee.name_length) }

  /// Reserves room for each message's control data; the remainder of a shared buffer is payload.
  func prepareReceiveAhead() {
    unsafe memory.setPayload(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    unsafe header.pointee.vector_count = 0
    unsafe header.pointee.control_length = core.configuration.controlBufferSize
    // Reserved even if no name is wanted, so that exactly `receiveBufferSize` bytes of each buffer
    // remain.
    setNameRoom()
  }

  var receiveAheadFlags: Int32 { withSocket { $0.receiveFlags(0) }! }

  /// Copies the address to connect or send to.
  func setName(_ name: RawSpan) {
    // SAFETY: there is room for as many bytes as checked here.
    precondition(
      name.byteCount <= OperationMemory.nameCapacity, "An address of \(name.byteCount) bytes")
    let room = unsafe memory.reserveName()
    unsafe name.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress {
        unsafe room.copyMemory(from: start, byteCount: bytes.count)
      }
    }
    unsafe header.pointee.name = room
    unsafe header.pointee.name_length = UInt32(name.byteCount)
  }
}

extension Operation {
  enum Progress {
    /// The request must be submitted again, for the remaining part.
    case again
    case finished
  }

  /// Processes one completion. From here on the outcome owns every descriptor that came with it.
  func absorb(_ completion: cms_completion) -> Progress {
    guard completion.result >= 0 else { return absorb(Errno(rawValue: -completion.result)) }
    let count = Int(completion.result)
    switch request {
    case .send: return absorbSent(count)
    case .receive:
      absorbReceived(count)
      withSocket { socket in
        if informsPredictors(on: socket) { socket.sameTurn.note(wasStartedInThisTurn) }
        socket.waits.noteReceive(inTurn: wasStartedInThisTurn)
        socket.isKnownEmpty = completion.flags & cms_completion_socket_nonempty == 0
        outcome.noteEnd(
          on: socket.kind, wasStopped: life.stopReason != nil && socket.hasNoEndOfItsOwn)
        if !socket.pendingErrors.isEmpty { settlePendingErrors(of: socket) }
        if let policy = socket.policy { policy.evaluate(&outcome) }
        if !request.isPeek { socket.noteLoss(&outcome) }
      }
    case .receiveWhenReadable(let flags):
      guard life.mayContinue else {
        fail(.canceled)
        return .finished
      }
      withSocket { $0.isKnownEmpty = false }
      request = .receive(flags: flags)
      acquireReceiveMemory()
      return .again
    case .acceptWhenReadable: return goOn(with: .accept)
    case .accept, .acceptAfterCancellation:
      outcome.descriptors.append(OwnedFd(adopting: FileDescriptor(rawValue: completion.result)))
    case .connect: break
    case .pauseSending, .pauseReceiving, .receiveAhead, .waitForMessage, .event, .timer:
      preconditionFailure("Not a request with one completion")
    }
    return .finished
  }

  /// Whether this receive tells the predictors something: it was started on an empty socket, and it
  /// may wait.
  private func informsPredictors(on socket: OpenSocket) -> Bool {
    if case .receive(let flags) = request {
      socket.isKnownEmpty && flags & cms_msg_dontwait == 0
    } else {
      false
    }
  }

  /// Moves the outcome of a receive out. Bytes in the caller's memory are copied to the payload.
  func takeBroughtOutcome() -> OperationOutcome {
    var brought = takeOutcome()
    if unsafe buffers.payload == nil, let start = unsafe memory.payloadStart {
      // SAFETY: the caller keeps its memory until the task continues, and the kernel has filled
      // this many bytes.
      brought.payload = unsafe [UInt8](
        UnsafeRawBufferPointer(start: start, count: brought.byteCount))
    }
    return brought
  }

  private func absorb(_ errno: Errno) -> Progress {
    // The thread got a signal; nothing was transferred.
    if errno == .interrupted, life.mayContinue { return again() }
    var errno = errno
    switch request {
    case .receive(let flags) where request.receivesMessages && errno != .interrupted:
      guard let told = withSocket({ errorBehindMessages(errno, on: $0) })! else {
        request = .receive(flags: flags | cms_msg_dontwait)
        return again()
      }
      errno = told
    case .send(let flags, let pause?) where errno == .wouldBlock:
      return goOn(with: .pauseSending(flags: flags, pause: pause))
    // The pause is over.
    case .pauseSending(let flags, let pause) where errno == .timeout && life.mayContinue:
      request = .send(flags: flags, pause: pause.next)
      return .again
    case .receive(let flags)
    where errno == .wouldBlock && flags & cms_msg_errqueue != 0 && flags & cms_msg_dontwait == 0:
      return goOn(with: .pauseReceiving(flags: flags))
    case .pauseReceiving(let flags) where errno == .timeout && life.mayContinue:
      request = .receive(flags: flags)
      return again()
    case .accept where errno == .wouldBlock: return goOn(with: .acceptWhenReadable)
    case .accept
    where errno == .canceled && !life.mayContinue && withCore({ $0.driver.losesWakeUps }):
      request = .acceptAfterCancellation
      return .again
    case .acceptAfterCancellation:
      // There is no connection, or the kernel does not know the flag.
      fail(.canceled)
      return .finished
    default: break
    }
    // A stop interrupts a request that a kernel thread is executing.
    fail(errno == .interrupted ? .canceled : errno)
    return .finished
  }

  /// Submits another request in place of this one, unless the operation was stopped. Nothing was
  /// transferred.
  private func goOn(with next: OperationRequest) -> Progress {
    guard life.mayContinue else {
      fail(.canceled)
      return .finished
    }
    request = next
    return .again
  }

  /// Submits the request again; a receive gets fresh memory.
  private func again() -> Progress {
    guard case .receive = request else { return .again }
    releaseReceiveMemory()
    withCore { if $0.acquiresReceiveMemoryEarly { acquireReceiveMemory() } }
    return .again
  }

  /// Ends the operation with `errno`, or with the end of the receivable data if that is what the
  /// error means.
  func fail(_ errno: Errno) {
    let isEnd =
      switch (errno, request) {
      case (.canceled, _): life.stopReason == .receivingEnded
      case (.wouldBlock, .receive): socket?.hasNoEndOfItsOwn ?? false
      default: false
      }
    outcome.isEnd = isEnd
    // A pause that ends early was cancelled, whatever the error.
    switch request {
    case .pauseSending, .pauseReceiving: outcome.errno = .canceled
    default: outcome.errno = isEnd ? nil : errno
    }
  }

  private func absorbSent(_ count: Int) -> Progress {
    outcome.byteCount += count
    // SAFETY: the completion has come, so the kernel does not read the header.
    let remaining = memory.advanceVectors(by: count)
    if remaining == 0 { return .finished }
    // Only streams send partially. The control messages went out with the first bytes, so the rest
    // goes without them.
    unsafe header.pointee.control = nil
    unsafe header.pointee.control_length = 0
    let wasStopped = life.stopReason != nil
    guard count > 0, life.continueAfterPart() else {
      outcome.errno = .canceled
      return .finished
    }
    if wasStopped { withCore { $0.statistics.wonAgainstCancellation += 1 } }
    // The request not to wait applies only before the first byte.
    if life.finishesOnceBegun, case .send(let flags, let pause) = request {
      request = .send(flags: flags & ~cms_msg_dontwait, pause: pause)
    }
    return .again
  }
}
