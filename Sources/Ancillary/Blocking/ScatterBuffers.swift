#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The pieces of memory that one receive fills, in order. The C name is `struct iovec` (readv(2)).
///
/// It has exclusive access to the pieces while it lives. Up to eight need no allocation; the system takes at most 1024
/// (`IOV_MAX`), and says `EMSGSIZE` beyond.
@safe
public struct ScatterBuffers: ~Copyable, ~Escapable {
  private var inline: InlineArray<8, iovec>
  private var spill: [iovec]
  private static var inlineCount: Int { 8 }

  /// How many pieces there are.
  public private(set) var count: Int

  /// How many bytes they have together.
  public private(set) var byteCount: Int

  /// No room.
  @_lifetime(immortal)
  public init() {
    unsafe inline = InlineArray(repeating: iovec())
    unsafe spill = []
    count = 0
    byteCount = 0
  }

  /// One piece.
  @_lifetime(copy bytes)
  public init(_ bytes: consuming MutableRawSpan) {
    self.init()
    append(bytes)
  }

  /// Adds a piece behind the others.
  @_lifetime(self: copy self, copy bytes)
  public mutating func append(_ bytes: consuming MutableRawSpan) {
    // SAFETY: the address is written through while this value has exclusive access to the bytes.
    let length = bytes.byteCount
    let piece = unsafe bytes.withUnsafeMutableBytes { buffer in
      unsafe iovec(iov_base: buffer.baseAddress, iov_len: numericCast(buffer.count))
    }
    if count < Self.inlineCount {
      unsafe inline[count] = piece
    } else {
      if count == Self.inlineCount { for index in 0..<count { unsafe spill.append(inline[index]) } }
      unsafe spill.append(piece)
    }
    count += 1
    byteCount += length
  }

  /// Lends the vector to a system call.
  borrowing func withUnsafeVector<R, E: Error>(_ body: (UnsafeBufferPointer<iovec>) throws(E) -> R) throws(E) -> R {
    // SAFETY: both hold `count` initialised entries.
    if count > Self.inlineCount { return try unsafe spill.span.withUnsafeBufferPointer(body) }
    return try unsafe inline.span.extracting(first: count).withUnsafeBufferPointer(body)
  }
}
