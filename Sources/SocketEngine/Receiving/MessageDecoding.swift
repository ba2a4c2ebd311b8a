// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension Operation {
  func absorbReceived(_ count: Int) {
    let header = unsafe header
    // The kernel reports the message's full length, which may exceed what it has written.
    let written = min(count, receiveRoom)
    outcome.byteCount = written
    if count > written { outcome.withMetadata { $0.fullLength = count } }
    outcome.messageFlags = unsafe header.pointee.flags & ~cms_msg_cmsg_cloexec
    // SAFETY: the kernel has filled this many bytes of the operation's own memory; the rest did not
    // fit.
    if unsafe header.pointee.name_length > 0 {
      unsafe outcome.noteSender(
        UnsafeRawBufferPointer(
          start: header.pointee.name,
          count: min(Int(header.pointee.name_length), OperationMemory.nameCapacity)))
    }
    if let control = unsafe buffers.control {
      // If decoding began at the zeroed credentials of a failed attempt, the message's descriptors
      // would have no owner, and its sender would be taken for root.
      let start =
        mayLeaveControlOfVainTries
        ? unsafe ControlMessages.startOfLastCredentials(in: control.bytes) : 0
      let end = min(start + Int(unsafe header.pointee.control_length), control.count)
      outcome.noteControlTruncation(free: control.count - end, on: descriptor)
      // SAFETY: the kernel has filled these bytes of the operation's control block.
      unsafe outcome.absorb(control: UnsafeMutableRawBufferPointer(rebasing: control[start..<end]))
    }
    // SAFETY: as above, for the payload block.
    if let payload = unsafe buffers.payload {
      outcome.payload = unsafe [UInt8](UnsafeRawBufferPointer(rebasing: payload[..<written]))
    }
  }
}

extension OperationOutcome {
  /// Takes ownership of everything in a message's control data. Keeps a copy of the data if it
  /// contains more than descriptors.
  @unsafe
  mutating func absorb(control: UnsafeMutableRawBufferPointer) {
    if unsafe control.isEmpty || descriptors.adopt(whole: control) { return }
    var ancillary = unsafe ReceivedAncillary(takingFrom: control)
    swap(&descriptors, &ancillary.descriptors)
    let metadata = metadata ?? MessageMetadata()
    metadata.failures = ancillary.failures
    metadata.credentials = ancillary.rawCredentials
    metadata.control = unsafe ControlMessageBuffer(copying: control.bytes)
    metadata.setProcess(ancillary.process.take())
    self.metadata = metadata
  }

  /// Determines why control data is missing, if any is. Call this before the received descriptors
  /// are closed or used.
  mutating func noteControlTruncation(free: @autoclosure () -> Int, on number: Int32) {
    if messageFlags & cms_msg_ctrunc == 0 { return }
    let loss = ControlTruncation(free: free(), number: number)
    withMetadata { $0.controlTruncation = loss }
  }

  @unsafe
  mutating func noteSender(_ name: UnsafeRawBufferPointer) {
    let sender = unsafe AnySocketAddress(systemBytes: Array(name))
    withMetadata { $0.sender = sender }
  }

  /// Decodes a message that a multishot receive has left in a buffer.
  init(_ received: ReceivedBuffer, controlSize: Int, on number: Int32, namesSenders: Bool) {
    self.init()
    // Count the bytes that are present, not the reported length: a message without bytes may be the
    // end.
    byteCount = unsafe received.payload.count
    messageFlags = unsafe received.messageFlags
    if unsafe namesSenders && !received.name.isEmpty {
      unsafe noteSender(UnsafeRawBufferPointer(received.name))
    }
    payload = unsafe [UInt8](UnsafeRawBufferPointer(received.payload))
    let controlLength = unsafe received.control.count
    noteControlTruncation(free: controlSize - controlLength, on: number)
    unsafe absorb(control: received.control)
    let fullLength = unsafe received.fullLength
    if byteCount > 0, fullLength > byteCount { withMetadata { $0.fullLength = fullLength } }
  }
}

extension OperationOutcome {
  /// Recognizes the end of a socket, which looks like an empty message. On a stream, an empty
  /// receive is always the end, even with control data such as credentials or `SCM_INQ`, unless
  /// descriptors came with it. On a seqpacket socket it may also be an empty message; that is
  /// indistinguishable from the end unless it came with a control message or the credentials of a
  /// process. A datagram socket has no end of its own.
  ///
  /// - Parameter wasStopped: Whether the receive was stopped on a socket that is shut down for
  ///   receiving.
  mutating func noteEnd(on kind: SocketKind, wasStopped: Bool = false) {
    guard byteCount == 0, descriptors.isEmpty, metadata?.failures.isEmpty ?? true,
      messageFlags & cms_msg_errqueue == 0
    else { return }
    let hasControl = !(metadata?.control.isEmpty ?? true)
    switch kind {
    case .stream: isEnd = true
    // A message with descriptors that could not be delivered is a message.
    case _ where messageFlags & cms_msg_ctrunc != 0: break
    case .seqpacket:
      isEnd = !hasControl || metadata?.credentials.map { $0.processID == nil } ?? false
    // The receive waited on an empty socket, and ended when the socket was shut down.
    case .datagram: isEnd = wasStopped && metadata?.sender == nil && !hasControl
    }
  }
}

extension LoopCore {
  /// Decodes a message from its buffer and returns the buffer to the kernel.
  func message(of operation: Operation, in completion: cms_completion) -> OperationOutcome {
    guard let buffers = receiveBuffers else {
      preconditionFailure("A completion names a buffer, but there are none")
    }
    let id = UInt16(truncatingIfNeeded: completion.flags >> 16)
    defer { buffers.provide(id) }
    // SAFETY: the kernel has filled the buffer and does not touch it until it is provided again.
    let received = unsafe ReceivedBuffer(
      buffers.bytes(of: id), filled: Int(completion.result), nameSize: operation.receivedNameSize,
      controlSize: buffers.controlSize)
    guard let received = unsafe received else {
      preconditionFailure("The kernel has filled a buffer in a way it does not do")
    }
    return unsafe OperationOutcome(
      received, controlSize: buffers.controlSize, on: operation.descriptor,
      namesSenders: operation.withSocket { $0.namesSenders }!)
  }
}
