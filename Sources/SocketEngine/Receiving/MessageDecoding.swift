// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import CRing
internal import SystemPackage

/// The buffers that the kernel fills for multishot receives. All sockets of a loop share them, so
/// an idle socket holds none.
///
/// A buffer contains: header, the sender's name if the socket asks for it, control data, payload.
/// It is read when its completion is reaped and then given back immediately. So the kernel runs
/// short only if more messages arrive between two turns than there are buffers; the messages then
/// wait in their sockets.
@safe
class ReceiveBuffers {
  static let group: UInt16 = 0
  static let headerSize = MemoryLayout<cms_received_header>.size

  let controlSize: Int
  /// The size of header, name, control data and exactly `receiveBufferSize` bytes of payload.
  private let bufferSize: Int
  /// The distance from one buffer to the next.
  private let stride: Int
  private let count: Int
  private let slab: UnsafeMutableRawBufferPointer
  private let ring: OpaquePointer?
  private let buffers: OpaquePointer?

  /// Returns nil if the kernel has no provided-buffer rings (before Linux 5.19) or no memory for
  /// one.
  convenience init?(ring: OpaquePointer, count: Int, controlSize: Int, payloadSize: Int) {
    var buffers: OpaquePointer?
    guard unsafe cms_buffer_ring_create(ring, Self.group, UInt32(count), &buffers) == 0,
      let buffers = unsafe buffers
    else { return nil }
    unsafe self.init(
      ring, buffers, count: count, controlSize: controlSize, payloadSize: payloadSize)
    for id in 0..<count { provide(UInt16(id)) }
  }

  /// Allocates only the memory. Without a ring the buffers belong to a simulated kernel, which
  /// overrides the methods that call the real one.
  init(
    _ ring: OpaquePointer?, _ buffers: OpaquePointer?, count: Int, controlSize: Int,
    payloadSize: Int
  ) {
    self.controlSize = controlSize
    self.count = count
    bufferSize = Self.headerSize + OperationMemory.nameCapacity + controlSize + payloadSize
    stride = (bufferSize + 63) / 64 * 64
    unsafe self.ring = ring
    unsafe self.buffers = buffers
    // SAFETY: freed in `close()`, after the ring's last operation has ended. Pages that no message
    // reaches are never touched.
    unsafe slab = .allocate(byteCount: stride * count, alignment: 64)
  }

  /// All bytes of a buffer, valid until the buffer is given back.
  @unsafe
  func bytes(of id: UInt16) -> UnsafeMutableRawBufferPointer {
    let start = Int(id) * stride
    return unsafe UnsafeMutableRawBufferPointer(rebasing: slab[start..<(start + bufferSize)])
  }

  /// Gives a buffer to the kernel.
  func provide(_ id: UInt16) {
    precondition(id < count, "A completion names a buffer that does not exist")
    let start = unsafe slab.baseAddress! + Int(id) * stride
    unsafe cms_buffer_ring_provide(buffers!, start, UInt32(bufferSize), id)
  }

  /// Takes all buffers back from the kernel, and frees them.
  func close() {
    if let ring = unsafe ring { unsafe cms_buffer_ring_destroy(ring, buffers!) }
    unsafe slab.deallocate()
  }
}

/// One message as a multishot receive leaves it in a buffer, split into its parts. Every length is
/// checked against the buffer.
@unsafe
private struct ReceivedBuffer {
  let messageFlags: Int32
  let name: UnsafeMutableRawBufferPointer
  let control: UnsafeMutableRawBufferPointer
  let payload: UnsafeMutableRawBufferPointer
  /// The payload's full length if the request asks for it (`MSG_TRUNC`); otherwise the length
  /// received.
  let fullLength: Int

  /// - Parameters:
  ///   - buffer: the whole buffer.
  ///   - filled: the completion's result: header, the room reserved for name and control data, and
  ///     the payload's bytes.
  ///   - nameSize: the room reserved for the sender's address.
  ///   - controlSize: the room reserved for control data, whatever of it was used.
  init?(_ buffer: UnsafeMutableRawBufferPointer, filled: Int, nameSize: Int, controlSize: Int) {
    let controlStart = ReceiveBuffers.headerSize + nameSize
    let payloadStart = controlStart + controlSize
    guard filled >= payloadStart, filled <= buffer.count else { return nil }
    let header = unsafe buffer.loadUnaligned(as: cms_received_header.self)
    guard header.control_length <= controlSize else { return nil }
    // The header holds the name's full length, which may exceed the room for it.
    let nameEnd = ReceiveBuffers.headerSize + min(Int(header.name_length), nameSize)
    // SAFETY: all three ranges lie inside the buffer, as checked.
    unsafe name = UnsafeMutableRawBufferPointer(
      rebasing: buffer[ReceiveBuffers.headerSize..<nameEnd])
    unsafe control = UnsafeMutableRawBufferPointer(
      rebasing: buffer[controlStart..<(controlStart + Int(header.control_length))])
    // The result tells how much payload is present; the header tells the full length (MSG_TRUNC).
    unsafe payload = UnsafeMutableRawBufferPointer(rebasing: buffer[payloadStart..<filled])
    unsafe fullLength = max(payload.count, Int(header.payload_length))
    unsafe messageFlags = Int32(bitPattern: header.flags) & ~cms_msg_cmsg_cloexec
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
      let wasZeroed = mayLeaveControlOfVainTries
      let start = wasZeroed ? unsafe ControlMessages.startOfLastCredentials(in: control.bytes) : 0
      let end = min(start + Int(unsafe header.pointee.control_length), control.count)
      // What did not fit may have been written in part.
      if wasZeroed, outcome.messageFlags & cms_msg_ctrunc == 0 { buffers.noteControl(upTo: end) }
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
  fileprivate mutating func noteControlTruncation(free: @autoclosure () -> Int, on number: Int32) {
    if messageFlags & cms_msg_ctrunc == 0 { return }
    let loss = ControlTruncation(free: free(), number: number)
    withMetadata { $0.controlTruncation = loss }
  }

  @unsafe
  fileprivate mutating func noteSender(_ name: UnsafeRawBufferPointer) {
    let sender = unsafe AnySocketAddress(systemBytes: Array(name))
    withMetadata { $0.sender = sender }
  }

  /// Decodes a message that a multishot receive has left in a buffer.
  fileprivate init(
    _ received: ReceivedBuffer, controlSize: Int, on number: Int32, namesSenders: Bool
  ) {
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

// Part of a received message may be missing: the end of its payload, or control data. By default
// that throws an error that holds the received part (Docs/Decisions/0008).

extension OpenSocket {
  /// Notes which losses of a message must be thrown. Called when a message has arrived, or was
  /// truncated on its way to the caller's memory.
  func noteLoss(_ outcome: inout OperationOutcome) {
    let flags = outcome.messageFlags
    let isCut = flags & cms_msg_trunc != 0 && kind != .stream
    let lacksControl = flags & cms_msg_ctrunc != 0 || outcome.metadata?.failures.isEmpty == false
    guard isCut || lacksControl else { return }
    let policy = policy?.policy ?? ReceivePolicy()
    // An entry of the error queue has a copy of what was sent, so truncating it loses no message.
    let isMessage = flags & cms_msg_errqueue == 0
    let throwsPayloadLoss = isCut && isMessage && policy.onPayloadTruncation == .throwError
    let throwsControlLoss = lacksControl && policy.onControlTruncation == .throwError
    guard throwsPayloadLoss || throwsControlLoss else { return }
    outcome.withMetadata { metadata in
      metadata.throwsPayloadLoss = throwsPayloadLoss
      metadata.throwsControlLoss = throwsControlLoss
    }
  }
}
