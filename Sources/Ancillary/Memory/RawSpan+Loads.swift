// SPDX-License-Identifier: Apache-2.0
extension RawSpan {
  /// The integer at `offset`, in bytes, in the host's byte order; no alignment needed. Traps when
  /// it does not fit: check lengths that come from a peer first.
  @inline(__always)
  public func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type = T.self, at offset: Int)
    -> T
  {
    precondition(
      offset >= 0 && byteCount >= MemoryLayout<T>.size && offset <= byteCount - MemoryLayout<T>.size
    )
    // SAFETY: the range was checked above; every bit pattern is a valid integer; the load is
    // unaligned.
    return unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: T.self)
  }

  /// The integer at `offset`, in bytes, which is there in network byte order. Traps when it does
  /// not fit.
  @inline(__always)
  public func loadBigEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type = T.self, at offset: Int
  ) -> T {
    T(bigEndian: load(T.self, at: offset))
  }

  /// Copies all bytes to an array.
  func copyToArray() -> [UInt8] {
    // SAFETY: the buffer has room for `byteCount` bytes, all of which are copied; the two do not
    // overlap.
    unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
      unsafe withUnsafeBytes { source in
        unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(from: source)
      }
      count = byteCount
    }
  }
}
