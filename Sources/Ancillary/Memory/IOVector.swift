// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Addresses and lengths for one system call (`struct iovec`); the first eight need no allocation.
/// It keeps nothing alive: ``GatherBuffers`` and ``ScatterBuffers`` borrow the memory.
@safe
struct IOVector {
  private var inline: InlineArray<8, iovec>
  private var spill: [iovec]
  private static var inlineCount: Int { 8 }

  /// How many pieces there are.
  private(set) var count = 0

  /// How many bytes they have together.
  private(set) var byteCount = 0

  init() {
    unsafe inline = InlineArray(repeating: iovec())
    unsafe spill = []
  }

  mutating func append(_ piece: UnsafeMutableRawBufferPointer) {
    let entry = unsafe iovec(iov_base: piece.baseAddress, iov_len: numericCast(piece.count))
    if count < Self.inlineCount {
      unsafe inline[count] = entry
    } else {
      if count == Self.inlineCount { for index in 0..<count { unsafe spill.append(inline[index]) } }
      unsafe spill.append(entry)
    }
    count += 1
    byteCount += piece.count
  }

  /// The entries. They stay where they are while this value is borrowed.
  var entries: Span<iovec> {
    @_lifetime(borrow self)
    borrowing get {
      unsafe count > Self.inlineCount ? spill.span : inline.span.extracting(first: count)
    }
  }

  /// Lends the entries to a system call.
  borrowing func withUnsafeEntries<R, E: Error>(_ body: (UnsafeBufferPointer<iovec>) throws(E) -> R)
    throws(E) -> R
  {
    // SAFETY: passed on to the caller.
    try unsafe entries.withUnsafeBufferPointer(body)
  }
}
