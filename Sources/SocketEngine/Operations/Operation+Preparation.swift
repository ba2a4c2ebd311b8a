// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

// Filling an operation's memory before it is submitted.

extension Operation {
  /// Points the header at a payload that the awaiting task keeps alive.
  func setPayload(_ payload: RawSpan) {
    // SAFETY: the caller's borrow of the payload lasts until it has awaited the final completion.
    let bytes = unsafe payload.withUnsafeBytes { unsafe $0 }
    unsafe memory.setPayload(UnsafeMutableRawBufferPointer(mutating: bytes))
  }

  /// The same for a payload in several pieces.
  func setPayload(_ pieces: borrowing GatherBuffers) {
    let capacity = OperationMemory.inlineVectors
    let vectors =
      unsafe pieces.count > capacity ? loan.allocateVectors(count: pieces.count) : memory.vectors
    var count = 0
    // SAFETY: as above; and there is room for as many vectors as there are pieces.
    unsafe pieces.withUnsafePieces { piece in
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
      ? unsafe loan.lendControl(from: core) : unsafe loan.allocateExtra(byteCount: needed)
    let rights = unsafe try ControlMessages.encodeRights(numbers, into: block)
    unsafe block[rights...].copyBytes(from: control.bytes)
    unsafe memory.setControl(UnsafeMutableRawBufferPointer(rebasing: block[..<needed]))
  }

  /// Receives into the caller's memory, which it keeps alive; or, if there is none, into a block
  /// that the engine lends.
  func prepareReceive(into buffer: UnsafeMutableRawBufferPointer?) {
    unsafe memory.setPayload(buffer ?? UnsafeMutableRawBufferPointer(start: nil, count: 0))
  }

  /// Turns a wait for a message received ahead into a receive of at most `room` bytes.
  func prepareReceive(flags: Int32, room: Int) {
    request = .receive(flags: flags)
    unsafe prepareReceive(into: nil)
    lendReceiveMemory()
    // SAFETY: own memory, which the kernel does not know yet; the block gets no longer.
    unsafe memory.vectors[0].length = min(memory.vectors[0].length, room)
  }

  /// How many bytes a receive has room for, as far as the caller has said.
  var receiveRoom: Int { unsafe memory.payloadStart == nil ? .max : memory.vectors[0].length }

  /// Gives a receive what it needs to take a message. Until then it holds no memory but the slot.
  func lendReceiveMemory() {
    withCore { core in
      if unsafe memory.payloadStart == nil {
        unsafe memory.setPayload(loan.lendPayload(from: core))
      }
      unsafe memory.setControl(loan.lendControl(from: core))
    }
    if withSocket({ $0.namesSenders })! { setNameRoom() }
  }

  /// There was nothing to receive: waits on without memory.
  func giveBackReceiveMemory() {
    if unsafe loan.payload != nil {
      unsafe memory.setPayload(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    }
    withCore { loan.giveBack(to: $0) }
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
    if withSocket({ $0.namesSenders })! { setNameRoom() }
  }

  /// Messages are to say how long they were; a stream would throw the bytes away for that (tcp(7)).
  var receiveAheadFlags: Int32 {
    cms_msg_cmsg_cloexec | (socket!.kind == .stream ? 0 : cms_msg_trunc)
  }

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
