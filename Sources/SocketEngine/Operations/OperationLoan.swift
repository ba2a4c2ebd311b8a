// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// Memory that an operation has only for one use: control bytes, a payload buffer, vectors beyond
/// the inline ones.
@safe
struct OperationLoan: ~Copyable {
  /// From the loop's control pool.
  private(set) var control: UnsafeMutableRawBufferPointer?
  /// From the loop's payload pool.
  private(set) var payload: UnsafeMutableRawBufferPointer?
  /// Allocated because the pool's blocks were too small.
  private(set) var extra: UnsafeMutableRawBufferPointer?
  /// Allocated because the slot's own vectors were too few.
  private(set) var vectors: UnsafeMutablePointer<cms_iovec>?

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

  mutating func allocateVectors(count: Int) -> UnsafeMutablePointer<cms_iovec> {
    // SAFETY: freed in `giveBack(to:)`.
    let block = UnsafeMutablePointer<cms_iovec>.allocate(capacity: count)
    unsafe block.initialize(repeating: cms_iovec(), count: count)
    unsafe vectors = block
    return unsafe block
  }

  /// The operation is over: the kernel has no business with any of it any more.
  mutating func giveBack(to core: LoopCore) {
    if let block = unsafe control { unsafe core.controlBuffers.giveBack(block) }
    if let block = unsafe payload { unsafe core.payloadBuffers.giveBack(block) }
    if let block = unsafe extra { unsafe block.deallocate() }
    if let block = unsafe vectors { unsafe block.deallocate() }
    unsafe control = nil
    unsafe payload = nil
    unsafe extra = nil
    unsafe vectors = nil
  }
}
