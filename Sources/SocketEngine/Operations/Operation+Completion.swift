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
        if mayBeAnAnswer(on: socket) { socket.answersInTurn.note(wasStartedInThisTurn) }
        socket.wasEmptied = completion.flags & cms_completion_socket_nonempty == 0
        outcome.noteEnd(
          on: socket.kind, wasStopped: life.stopReason != nil && socket.hasNoEndOfItsOwn)
        if let policy = socket.policy { policy.judge(&outcome) }
      }
    case .receiveWhenReadable(let flags):
      guard life.mayContinue else {
        fail(.canceled)
        return .finished
      }
      withSocket { $0.wasEmptied = false }
      request = .receive(flags: flags)
      lendReceiveMemory()
      return .again
    case .accept:
      outcome.descriptors.append(OwnedFd(adopting: FileDescriptor(rawValue: completion.result)))
    case .connect: break
    case .pauseSending, .receiveAhead, .waitForMessage, .event, .timer:
      preconditionFailure("Not a request with one completion")
    }
    return .finished
  }

  /// Whether it is a receive that was started where there was nothing, and that waits for
  /// something.
  private func mayBeAnAnswer(on socket: OpenSocket) -> Bool {
    if case .receive(let flags) = request {
      socket.wasEmptied && flags & cms_msg_dontwait == 0
    } else {
      false
    }
  }

  /// Moves the outcome of a receive out, with the bytes also where they are in the caller's memory.
  func takeBroughtOutcome() -> OperationOutcome {
    var brought = takeOutcome()
    if unsafe loan.payload == nil, let start = unsafe memory.payloadStart {
      // SAFETY: the caller keeps its memory, of which the kernel has filled so much, until the task
      // goes on.
      brought.payload = unsafe [UInt8](
        UnsafeRawBufferPointer(start: start, count: min(brought.byteCount, receiveRoom)))
    }
    return brought
  }

  private func absorb(_ errno: Errno) -> Progress {
    // A signal to the thread; nothing was transferred.
    if errno == .interrupted, life.mayContinue { return .again }
    switch request {
    case .send(let flags, let pause?) where errno == .wouldBlock && life.mayContinue:
      request = .pauseSending(flags: flags, pause: pause)
      return .again
    case .send(_, .some) where errno == .wouldBlock:
      fail(.canceled)
      return .finished
    // The pause is over.
    case .pauseSending(let flags, let pause) where errno == .timeout && life.mayContinue:
      request = .send(flags: flags, pause: pause.next)
      return .again
    default: break
    }
    // A stop interrupts a request that a kernel thread is busy with.
    fail(errno == .interrupted ? .canceled : errno)
    return .finished
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
    if case .pauseSending = request {
      outcome.errno = .canceled
    } else {
      outcome.errno = isEnd ? nil : errno
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
    if count > 0, life.mayContinue { return .again }
    outcome.errno = .canceled
    return .finished
  }

  private func absorbReceived(_ count: Int) {
    let header = unsafe header
    outcome.byteCount = count
    outcome.messageFlags = unsafe header.pointee.flags & ~cms_msg_cmsg_cloexec
    // SAFETY: the kernel has filled this many bytes of the operation's own memory; more did not
    // fit.
    if unsafe header.pointee.name_length > 0 {
      unsafe outcome.noteSender(
        UnsafeRawBufferPointer(
          start: header.pointee.name,
          count: min(Int(header.pointee.name_length), OperationMemory.nameCapacity)))
    }
    // SAFETY: the kernel has filled this many bytes of the control block that was lent for this
    // operation.
    if let control = unsafe loan.control {
      outcome.noteControlLoss(
        free: unsafe control.count - header.pointee.control_length, on: descriptor)
      unsafe outcome.absorb(
        control: UnsafeMutableRawBufferPointer(
          rebasing: control[..<min(header.pointee.control_length, control.count)]))
    }
    // SAFETY: as above, for the payload block.
    if let payload = unsafe loan.payload {
      // The kernel may say how long the message was, and not how much of it there is.
      outcome.payload = unsafe [UInt8](
        UnsafeRawBufferPointer(rebasing: payload[..<min(count, payload.count, receiveRoom)]))
    }
  }
}

extension OperationOutcome {
  /// Takes ownership of everything in the control data of a message; keeps a copy of it if there is
  /// more in it than descriptors.
  @unsafe
  mutating func absorb(control: UnsafeMutableRawBufferPointer) {
    if unsafe control.isEmpty || descriptors.adopt(whole: control) { return }
    var ancillary = unsafe ReceivedAncillary(takingFrom: control)
    swap(&descriptors, &ancillary.descriptors)
    let extras = extras ?? MessageExtras()
    extras.failures = ancillary.failures
    extras.credentials = ancillary.credentials
    extras.control = unsafe ControlMessageBuffer(copying: control.bytes)
    extras.setProcess(ancillary.process.take())
    self.extras = extras
  }

  /// Asks why control data is missing, if any is: before the descriptors that came are closed or
  /// used.
  mutating func noteControlLoss(free: @autoclosure () -> Int, on number: Int32) {
    if messageFlags & cms_msg_ctrunc == 0 { return }
    let loss = ControlLoss(free: free(), number: number)
    withExtras { $0.controlLoss = loss }
  }

  @unsafe
  mutating func noteSender(_ name: UnsafeRawBufferPointer) {
    let sender = unsafe AnySocketAddress(systemBytes: Array(name))
    withExtras { $0.sender = sender }
  }

  /// A message that a multishot receive has left in a buffer.
  init(_ received: ReceivedBuffer, controlSize: Int, on number: Int32) {
    self.init()
    byteCount = unsafe received.fullLength
    messageFlags = unsafe received.messageFlags
    if unsafe !received.name.isEmpty { unsafe noteSender(UnsafeRawBufferPointer(received.name)) }
    payload = unsafe [UInt8](UnsafeRawBufferPointer(received.payload))
    let controlLength = unsafe received.control.count
    noteControlLoss(free: controlSize - controlLength, on: number)
    unsafe absorb(control: received.control)
  }
}
