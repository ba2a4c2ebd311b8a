internal import CMessageSockets

/// Memory that an operation has only for one use: control bytes, a payload buffer, vectors beyond the inline ones.
@safe
struct OperationLoan: ~Copyable {
  /// From the loop's control pool.
  private(set) var control: UnsafeMutableRawBufferPointer?
  /// From the loop's payload pool.
  private(set) var payload: UnsafeMutableRawBufferPointer?
  /// Allocated because the pool's or the slot's own were too small.
  private(set) var extra: UnsafeMutableRawBufferPointer?

  init() {}

  mutating func lendControl(from core: LoopCore) -> UnsafeMutableRawBufferPointer {
    // SAFETY: given back in `giveBack(to:)`, after the final completion.
    let block = unsafe core.controlBuffers.lend()
    unsafe control = block
    return unsafe block
  }

  mutating func lendPayload(from core: LoopCore) -> UnsafeMutableRawBufferPointer {
    // SAFETY: as above.
    let block = unsafe core.payloadBuffers.lend()
    unsafe payload = block
    return unsafe block
  }

  mutating func allocateExtra(byteCount: Int) -> UnsafeMutableRawBufferPointer {
    // SAFETY: freed in `giveBack(to:)`.
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 8)
    unsafe extra = block
    return unsafe block
  }

  /// The operation is over: the kernel has no business with any of it any more.
  mutating func giveBack(to core: LoopCore) {
    if let block = unsafe control { unsafe core.controlBuffers.giveBack(block) }
    if let block = unsafe payload { unsafe core.payloadBuffers.giveBack(block) }
    if let block = unsafe extra { unsafe block.deallocate() }
    unsafe control = nil
    unsafe payload = nil
    unsafe extra = nil
  }
}
