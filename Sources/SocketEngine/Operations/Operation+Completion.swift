// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension Operation {
  enum Progress {
    /// The request goes to the kernel once more, with what is left of it.
    case again
    case finished
  }

  /// Takes in what one completion says. From here on every descriptor that came with it has an
  /// owner: the outcome.
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

  /// Whether it is a receive that was started where there was nothing, and that waits for
  /// something.
  private func informsPredictors(on socket: OpenSocket) -> Bool {
    if case .receive(let flags) = request {
      socket.isKnownEmpty && flags & cms_msg_dontwait == 0
    } else {
      false
    }
  }

  /// Moves the outcome of a receive out, with the bytes also where they are in the caller's memory.
  func takeBroughtOutcome() -> OperationOutcome {
    var brought = takeOutcome()
    if unsafe buffers.payload == nil, let start = unsafe memory.payloadStart {
      // SAFETY: the caller keeps its memory, of which the kernel has filled so much, until the task
      // goes on.
      brought.payload = unsafe [UInt8](
        UnsafeRawBufferPointer(start: start, count: brought.byteCount))
    }
    return brought
  }

  private func absorb(_ errno: Errno) -> Progress {
    // A signal to the thread; nothing was transferred.
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
      // Nothing is there, or the kernel does not know the flag.
      fail(.canceled)
      return .finished
    default: break
    }
    // A stop interrupts a request that a kernel thread is busy with.
    fail(errno == .interrupted ? .canceled : errno)
    return .finished
  }

  /// Goes to the kernel with another request, unless it was stopped: nothing was transferred.
  private func goOn(with next: OperationRequest) -> Progress {
    guard life.mayContinue else {
      fail(.canceled)
      return .finished
    }
    request = next
    return .again
  }

  /// Goes to the kernel once more, a receive with memory as new.
  private func again() -> Progress {
    guard case .receive = request else { return .again }
    releaseReceiveMemory()
    withCore { if $0.acquiresReceiveMemoryEarly { acquireReceiveMemory() } }
    return .again
  }

  /// The operation has failed with `errno`, unless that is how it comes to the end of what can be
  /// received.
  func fail(_ errno: Errno) {
    let isEnd =
      switch (errno, request) {
      case (.canceled, _): life.stopReason == .receivingEnded
      case (.wouldBlock, .receive): socket?.hasNoEndOfItsOwn ?? false
      default: false
      }
    outcome.isEnd = isEnd
    // Whatever it was that ended a pause.
    switch request {
    case .pauseSending, .pauseReceiving: outcome.errno = .canceled
    default: outcome.errno = isEnd ? nil : errno
    }
  }

  private func absorbSent(_ count: Int) -> Progress {
    outcome.byteCount += count
    // SAFETY: the completion has come: the kernel does not read the header at the moment.
    let remaining = memory.advanceVectors(by: count)
    if remaining == 0 { return .finished }
    // Only streams send short, and what has gone out has taken the control messages along: the rest
    // goes without.
    unsafe header.pointee.control = nil
    unsafe header.pointee.control_length = 0
    let wasStopped = life.stopReason != nil
    guard count > 0, life.continueAfterPart() else {
      outcome.errno = .canceled
      return .finished
    }
    if wasStopped { withCore { $0.statistics.wonAgainstCancellation += 1 } }
    // Not waiting was an offer for the time before the first byte.
    if life.finishesOnceBegun, case .send(let flags, let pause) = request {
      request = .send(flags: flags & ~cms_msg_dontwait, pause: pause)
    }
    return .again
  }
}
