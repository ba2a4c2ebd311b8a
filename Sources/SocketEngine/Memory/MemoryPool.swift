/// Blocks of one size, lent and returned on the loop's thread; the last returned is the first lent, while it is in the cache.
///
/// Idle sockets hold no block. A block beyond `keeping` is freed when it comes back, so that a burst does not stay in memory.
@safe
final class MemoryPool {
  /// Rounded up to the alignment, 8 bytes.
  let blockSize: Int
  private let keeping: Int
  private var free: [UnsafeMutableRawBufferPointer] = unsafe []
  /// How many blocks are lent out.
  private(set) var lent = 0

  init(blockSize: Int, keeping: Int) {
    precondition(blockSize > 0, "A block has at least one byte")
    self.blockSize = (blockSize + 7) / 8 * 8
    self.keeping = keeping
  }

  deinit {
    assert(lent == 0, "A pool ended while \(lent) blocks were lent")
    // SAFETY: blocks in `free` are lent to nobody.
    while let block = unsafe free.popLast() { unsafe block.deallocate() }
  }

  /// Lends a block of ``blockSize`` bytes, aligned to 8, of unspecified content.
  @unsafe
  func lend() -> UnsafeMutableRawBufferPointer {
    lent += 1
    return unsafe free.popLast() ?? .allocate(byteCount: blockSize, alignment: 8)
  }

  /// Takes a block back. The caller must not touch it any more, and neither must the kernel.
  @unsafe
  func giveBack(_ block: UnsafeMutableRawBufferPointer) {
    lent -= 1
    if unsafe free.count < keeping {
      unsafe free.append(block)
    } else {
      unsafe block.deallocate()
    }
  }
}
