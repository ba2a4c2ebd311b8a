#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The pieces of memory that one send takes its payload from, in order. The C name is `struct iovec` (writev(2)).
///
/// It borrows the pieces. Up to eight need no allocation; the system takes at most 1024 (`IOV_MAX`), and says
/// `EMSGSIZE` beyond.
///
/// `@unchecked Sendable`: the pieces are only read, and nobody can write them while this value borrows them.
@safe
public struct GatherBuffers: ~Copyable, ~Escapable, @unchecked Sendable {
  private var inline: InlineArray<8, iovec>
  private var spill: [iovec]
  private static var inlineCount: Int { 8 }

  /// How many pieces there are.
  public private(set) var count: Int

  /// How many bytes they have together.
  public private(set) var byteCount: Int

  /// No payload.
  @_lifetime(immortal)
  public init() {
    unsafe inline = InlineArray(repeating: iovec())
    unsafe spill = []
    count = 0
    byteCount = 0
  }

  /// One piece.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) {
    self.init()
    append(bytes)
  }

  /// Adds a piece behind the others.
  @_lifetime(self: copy self, copy bytes)
  public mutating func append(_ bytes: RawSpan) {
    // SAFETY: the address is only read through, while this value borrows the bytes.
    let piece = unsafe bytes.withUnsafeBytes { buffer in
      unsafe iovec(iov_base: UnsafeMutableRawPointer(mutating: buffer.baseAddress), iov_len: numericCast(buffer.count))
    }
    if count < Self.inlineCount {
      unsafe inline[count] = piece
    } else {
      if count == Self.inlineCount { for index in 0..<count { unsafe spill.append(inline[index]) } }
      unsafe spill.append(piece)
    }
    count += 1
    byteCount += bytes.byteCount
  }

  /// Lends the vector to a system call.
  borrowing func withUnsafeVector<R, E: Error>(_ body: (UnsafeBufferPointer<iovec>) throws(E) -> R) throws(E) -> R {
    // SAFETY: both hold `count` initialised entries.
    if count > Self.inlineCount { return try unsafe spill.span.withUnsafeBufferPointer(body) }
    return try unsafe inline.span.extracting(first: count).withUnsafeBufferPointer(body)
  }

  /// Shows each piece's memory, in order. It stays where it is as long as this value is borrowed.
  @unsafe
  package borrowing func withUnsafePieces(_ body: (UnsafeRawBufferPointer) -> Void) {
    unsafe withUnsafeVector { vector in
      for index in vector.indices {
        unsafe body(UnsafeRawBufferPointer(start: vector[index].iov_base, count: Int(vector[index].iov_len)))
      }
    }
  }
}
