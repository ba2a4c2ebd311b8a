// SPDX-License-Identifier: Apache-2.0
extension OutputRawSpan {
  /// Appends an integer in the host's byte order, at any alignment. Traps when it does not fit:
  /// callers check ``freeCapacity``.
  @_lifetime(self: copy self)
  @inline(__always)
  public mutating func append<T: FixedWidthInteger & BitwiseCopyable>(integer value: T) {
    precondition(freeCapacity >= MemoryLayout<T>.size, "no room for an integer")
    // SAFETY: the room was checked above; `storeBytes` takes any alignment.
    unsafe withUnsafeMutableBytes { bytes, count in
      unsafe bytes.storeBytes(of: value, toByteOffset: count, as: T.self)
      count += MemoryLayout<T>.size
    }
  }

  /// Appends an integer in network byte order.
  @_lifetime(self: copy self)
  public mutating func append<T: FixedWidthInteger & BitwiseCopyable>(bigEndian value: T) {
    append(integer: value.bigEndian)
  }

  /// Appends a copy of `bytes`. Traps when they do not fit: check `freeCapacity` first.
  @_lifetime(self: copy self)
  public mutating func append(copying bytes: RawSpan) {
    precondition(freeCapacity >= bytes.byteCount, "no room for these bytes")
    // SAFETY: the room was checked above; the initialized bytes of one span never overlap the
    // unused bytes of another.
    unsafe withUnsafeMutableBytes { destination, count in
      unsafe bytes.withUnsafeBytes { source in
        guard let from = source.baseAddress, let to = destination.baseAddress else { return }
        unsafe (to + count).copyMemory(from: from, byteCount: source.count)
        count += source.count
      }
    }
  }

  /// Appends `count` zero bytes. Traps when they do not fit.
  @_lifetime(self: copy self)
  @inline(__always)
  public mutating func append(zeroes count: Int) {
    precondition(count >= 0 && freeCapacity >= count, "no room for zeroes")
    // SAFETY: the room was checked above.
    unsafe withUnsafeMutableBytes { bytes, used in
      for offset in used..<used + count {
        unsafe bytes.storeBytes(of: 0, toByteOffset: offset, as: UInt8.self)
      }
      used += count
    }
  }
}

/// Lets `body` fill `memory` from its start. Returns how many bytes it wrote.
@unsafe
func fill<E: Error>(
  _ memory: UnsafeMutableRawBufferPointer, _ body: (inout OutputRawSpan) throws(E) -> Void
) throws(E) -> Int {
  // SAFETY: the caller passes memory that nothing else uses; the output span ends with this
  // function.
  var output = unsafe OutputRawSpan(buffer: memory, initializedCount: 0)
  try body(&output)
  return output.byteCount
}
