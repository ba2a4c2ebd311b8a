// SPDX-License-Identifier: Apache-2.0
extension SealedMemory {
  /// The bytes as elements, in the host's byte order, without a copy.
  ///
  /// The element's type keeps to the rules of ``AnyBitPattern``; a debug build checks that.
  ///
  /// - Parameters:
  ///   - type: The element's type, where the context does not say it.
  ///   - offset: Where the first element stands, in bytes; a multiple of the element's alignment.
  ///   - count: How many elements; nil for all up to the end of the memory.
  /// - Throws: ``MemoryError``: `misaligned`, `outOfBounds`, `wrongSize` (without a count: the
  ///   bytes up to the end are not a whole number of elements). Offset and count may come from a
  ///   peer.
  @_lifetime(borrow self)
  public borrowing func elements<Element: AnyBitPattern>(
    of type: Element.Type = Element.self, at offset: Int = 0, count: Int? = nil
  ) throws(MemoryError) -> Span<Element> {
    assert(Element.keepsToTheRules, "\(Element.self) has padding, or a field that is no number")
    let count = try MemoryLayout<Element>.count(at: offset, count, within: byteCount)
    guard count > 0, let start = unsafe mapping.start else { return Span() }
    // SAFETY: the range was checked above. Every bit pattern is an element, and a mapping begins at
    // a page boundary, so only the offset decides the alignment. The span borrows `self`.
    let first = unsafe UnsafePointer((start + offset).assumingMemoryBound(to: Element.self))
    return unsafe _overrideLifetime(Span(_unsafeStart: first, count: count), borrowing: self)
  }
}

extension MutableMemory {
  /// The memory as elements, to be filled, in the host's byte order.
  ///
  /// The element's type keeps to the rules of ``AnyBitPattern``; a debug build checks that.
  ///
  /// - Parameters:
  ///   - type: The element's type, where the context does not say it.
  ///   - offset: Where the first element stands, in bytes; a multiple of the element's alignment.
  ///   - count: How many elements; nil for all up to the end of the memory.
  /// - Throws: ``MemoryError`` as ``SealedMemory/elements(of:at:count:)``.
  @_lifetime(&self)
  public mutating func elements<Element: AnyBitPattern>(
    of type: Element.Type = Element.self, at offset: Int = 0, count: Int? = nil
  ) throws(MemoryError) -> MutableSpan<Element> {
    assert(Element.keepsToTheRules, "\(Element.self) has padding, or a field that is no number")
    let count = try MemoryLayout<Element>.count(at: offset, count, within: byteCount)
    guard count > 0, let start = unsafe mapping.start else { return MutableSpan() }
    // SAFETY: as above; the span borrows `self` exclusively.
    let first = unsafe (start + offset).assumingMemoryBound(to: Element.self)
    let span = unsafe MutableSpan(_unsafeStart: first, count: count)
    return unsafe _overrideLifetime(span, mutating: &self)
  }
}

extension MemoryLayout {
  /// How many elements fit into `byteCount` bytes from `offset` on. Any argument values are
  /// allowed.
  static func count(
    at offset: Int, _ count: Int?, within byteCount: Int
  ) throws(MemoryError) -> Int {
    guard 0...byteCount ~= offset else {
      throw MemoryError(.outOfBounds, actual: Int64(offset), limit: Int64(byteCount))
    }
    guard offset % alignment == 0 else {
      throw MemoryError(.misaligned, actual: Int64(offset), limit: Int64(alignment))
    }
    let room = byteCount - offset
    guard let count else {
      guard room % stride == 0 else {
        throw MemoryError(.wrongSize, actual: Int64(room), limit: Int64(stride))
      }
      return room / stride
    }
    let (end, overflows) = count.multipliedReportingOverflow(by: stride)
    guard count >= 0, !overflows, end <= room else {
      let last = overflows ? Int.max : end.addingReportingOverflow(offset).partialValue
      throw MemoryError(.outOfBounds, actual: Int64(last), limit: Int64(byteCount))
    }
    return count
  }
}
