// SPDX-License-Identifier: Apache-2.0
/// Blocks of one size, lent and returned on the loop's thread; the last returned is the first lent,
/// while it is in the cache.
///
/// Idle sockets hold no block. A block beyond `keeping` is freed when it comes back, so that a
/// burst does not stay in memory.
@safe
final class MemoryPool {
  /// Rounded up to the alignment, 8 bytes.
  let blockSize: Int
  private let keeping: Int
  // Only the loop's thread uses these, in short accesses that do not nest: a check at run time
  // would cost as much as the work itself.
  /// The first free block; each begins with the address of the next.
  @safe @exclusivity(unchecked) private var free: UnsafeMutableRawPointer?
  @safe @exclusivity(unchecked) private var kept = 0
  /// How many blocks are lent out.
  @safe @exclusivity(unchecked) private(set) var lent = 0

  init(blockSize: Int, keeping: Int) {
    precondition(blockSize > 0, "A block has at least one byte")
    self.blockSize = (blockSize + 7) / 8 * 8
    self.keeping = keeping
  }

  deinit {
    assert(lent == 0, "A pool ended while \(lent) blocks were lent")
    // SAFETY: free blocks are lent to nobody.
    while let block = unsafe takeFree() { unsafe block.deallocate() }
  }

  /// Lends a block of ``blockSize`` bytes, aligned to 8, of unspecified content.
  @unsafe
  func lend() -> UnsafeMutableRawBufferPointer {
    lent += 1
    let block = unsafe takeFree() ?? .allocate(byteCount: blockSize, alignment: 8)
    return unsafe UnsafeMutableRawBufferPointer(start: block, count: blockSize)
  }

  /// Takes a block back. The caller must not touch it any more, and neither must the kernel.
  @unsafe
  func giveBack(_ block: UnsafeMutableRawBufferPointer) {
    lent -= 1
    guard kept < keeping, let start = block.baseAddress else { return unsafe block.deallocate() }
    // SAFETY: the block is ours alone now, aligned, and has at least 8 bytes.
    unsafe start.storeBytes(of: free, as: UnsafeMutableRawPointer?.self)
    unsafe free = start
    kept += 1
  }

  @unsafe
  private func takeFree() -> UnsafeMutableRawPointer? {
    guard let block = free else { return nil }
    // SAFETY: written when it was given back, and not touched since.
    unsafe free = block.load(as: UnsafeMutableRawPointer?.self)
    kept -= 1
    return unsafe block
  }
}
