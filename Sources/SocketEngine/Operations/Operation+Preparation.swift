internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

// Filling an operation's memory before it is submitted.

extension Operation {
  /// Points the header at a payload that the awaiting task keeps alive, and encodes descriptors and control messages.
  ///
  /// - Throws: `AncillaryError` if there are more than 253 descriptors.
  func prepareSend(
    _ payload: RawSpan, numbers: Span<FileDescriptor>, control: borrowing ControlMessageBuffer, on core: LoopCore
  ) throws(AncillaryError) {
    // SAFETY: the caller's borrow of the payload lasts until it has awaited the final completion.
    let bytes = unsafe payload.withUnsafeBytes { unsafe $0 }
    unsafe memory.setPayload(UnsafeMutableRawBufferPointer(mutating: bytes))
    let rightsSpace = numbers.isEmpty ? 0 : ControlMessages.space(forDescriptors: numbers.count)
    let needed = rightsSpace + control.byteCount
    guard needed > 0 else { return unsafe memory.setControl(nil) }
    let block =
      needed <= core.controlBuffers.blockSize ? unsafe loan.lendControl(from: core) : unsafe loan.allocateExtra(byteCount: needed)
    let rights = unsafe try ControlMessages.encodeRights(numbers, into: block)
    unsafe block[rights...].copyBytes(from: control.bytes)
    unsafe memory.setControl(UnsafeMutableRawBufferPointer(rebasing: block[..<needed]))
  }

  /// Receives into the caller's memory, which it keeps alive, or into a block that the engine lends.
  func prepareReceive(into buffer: UnsafeMutableRawBufferPointer?, on core: LoopCore) {
    let payload = unsafe buffer ?? loan.lendPayload(from: core)
    unsafe memory.setPayload(payload)
    unsafe memory.setControl(loan.lendControl(from: core))
  }

  /// Says how much room each message's control data gets; the rest of a shared buffer is payload.
  func prepareReceiveAhead() {
    unsafe memory.setPayload(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    unsafe header.pointee.vector_count = 0
    unsafe header.pointee.control_length = core.configuration.controlBufferSize
  }

  /// Copies the address to connect to.
  func prepareConnect(_ name: RawSpan) {
    // SAFETY: an address has at most 128 bytes, as much as `name` has room for.
    unsafe name.withUnsafeBytes { unsafe memory.name.copyMemory(from: $0) }
  }
}
