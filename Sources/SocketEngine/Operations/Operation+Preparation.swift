// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

// Filling an operation's memory before it is submitted.

extension Operation {
  /// Points the header at a payload that the awaiting task keeps alive.
  func setPayload(_ payload: PayloadBytes) {
    // SAFETY: the caller's borrow of the payload lasts until it has awaited the final completion.
    if let bytes = unsafe payload.onlyPiece {
      return unsafe memory.setPayload(UnsafeMutableRawBufferPointer(mutating: bytes))
    }
    let pieces = payload.pieceCount
    let vectors =
      unsafe pieces > OperationMemory.inlineVectors
      ? buffers.allocateVectors(count: pieces) : memory.vectors
    var count = 0
    // SAFETY: as above; and there is room for as many vectors as there are pieces.
    unsafe payload.forEachPiece { piece in
      unsafe vectors[count] = cms_iovec(
        base: UnsafeMutableRawPointer(mutating: piece.baseAddress), length: piece.count)
      count += 1
    }
    unsafe memory.setPayload(vectors, count: count)
  }

  /// Encodes descriptors and control messages, and copies the address to send to. After the
  /// payload.
  ///
  /// - Throws: `AncillaryError` if there are more than 253 descriptors.
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

  /// Receives into the caller's memory, which it keeps alive; or, if there is none, at most `room`
  /// bytes into a block that the engine lends.
  func prepareReceive(into buffer: UnsafeMutableRawBufferPointer?, room: Int = .max) {
    if let buffer = unsafe buffer { unsafe memory.setPayload(buffer) } else { memory.setRoom(room) }
  }

  /// How many bytes a receive has room for: what the kernel can write, once there is memory.
  var receiveRoom: Int { unsafe memory.vectors[0].length }

  /// Gives a receive what it needs to take a message. Until then it holds no memory but the slot.
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
        // SAFETY: the kernel does not know the block yet.
        unsafe buffers.control!.initializeMemory(as: UInt8.self, repeating: 0)
      }
    }
    if withSocket({ $0.namesSenders })! { setNameRoom() }
  }

  /// Linux (seen on 6.18) writes credentials of zeros into the control data of a stream with
  /// `SO_PASSCRED` when io_uring finds nothing to receive, and goes on behind them when there is
  /// something, of whose control data alone it tells the length.
  var mayLeaveControlOfVainTries: Bool {
    withCore { $0.acquiresReceiveMemoryEarly } && withSocket { $0.kind == .stream } == true
  }

  /// There was nothing to receive: waits on without memory.
  func releaseReceiveMemory() {
    if unsafe buffers.payload != nil { memory.setRoom(receiveRoom) }
    withCore { buffers.release(to: $0) }
  }

  /// Lets the kernel write the sender's address.
  private func setNameRoom() {
    // SAFETY: the operation's own memory, which stays until the final completion.
    unsafe header.pointee.name = memory.reserveName()
    unsafe header.pointee.name_length = UInt32(OperationMemory.nameCapacity)
  }

  /// How many bytes of a shared buffer are reserved for the sender's address.
  var receivedNameSize: Int { Int(unsafe header.pointee.name_length) }

  /// Says how much room each message's control data gets; the rest of a shared buffer is payload.
  func prepareReceiveAhead() {
    unsafe memory.setPayload(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    unsafe header.pointee.vector_count = 0
    unsafe header.pointee.control_length = core.configuration.controlBufferSize
    // Also where no name is wanted, so that the rest of each buffer is `receiveBufferSize` bytes.
    setNameRoom()
  }

  var receiveAheadFlags: Int32 { withSocket { $0.receiveFlags(0) }! }

  /// Copies the address to connect or send to.
  func setName(_ name: RawSpan) {
    // SAFETY: there is room for as many bytes.
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
