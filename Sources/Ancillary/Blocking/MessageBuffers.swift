// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The pieces of memory that one send takes its payload from, in order. The C name is
/// `struct iovec` (writev(2)).
///
/// It borrows the pieces, and keeps their list in an allocation. The system takes at most 1024
/// (`IOV_MAX`), and says `EMSGSIZE` beyond.
///
/// `@unchecked Sendable`: the pieces are only read, and cannot be written while this value
/// borrows them.
public struct GatherBuffers: ~Copyable, ~Escapable, @unchecked Sendable {
  /// The buffers for the system call.
  private(set) var vector: IOVector

  /// How many pieces there are.
  public var count: Int { vector.count }

  /// How many bytes they have together.
  public var byteCount: Int { vector.byteCount }

  /// No payload.
  @_lifetime(immortal)
  public init() { vector = IOVector(staysInPlace: true) }

  /// One piece.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) {
    self.init()
    append(bytes)
  }

  /// One piece.
  @_lifetime(copy bytes)
  public init(_ bytes: Span<UInt8>) {
    // SAFETY: every byte of a span of bytes is initialized.
    self.init(unsafe bytes.bytes)
  }

  /// Adds a piece behind the others.
  @_lifetime(self: copy self, copy bytes)
  public mutating func append(_ bytes: RawSpan) {
    // SAFETY: the system only reads through the address, and only while this value borrows the
    // bytes.
    unsafe bytes.withUnsafeBytes {
      unsafe vector.append(UnsafeMutableRawBufferPointer(mutating: $0))
    }
  }

  /// Creates a value from the pieces of a payload.
  @_lifetime(copy payload)
  init(_ payload: PayloadBytes) {
    // This vector is used in one system call only.
    vector = IOVector()
    // SAFETY: as above; this value depends on the same memory.
    unsafe payload.forEachPiece {
      unsafe vector.append(UnsafeMutableRawBufferPointer(mutating: $0))
    }
  }
}

/// The pieces of memory that one receive fills, in order. The C name is `struct iovec` (readv(2)).
///
/// It has exclusive access to the pieces while it lives. Up to eight need no allocation; the system
/// takes at most 1024 (`IOV_MAX`), and says `EMSGSIZE` beyond.
public struct ScatterBuffers: ~Copyable, ~Escapable {
  /// The buffers for the system call.
  private(set) var vector = IOVector()

  /// How many pieces there are.
  public var count: Int { vector.count }

  /// How many bytes they have together.
  public var byteCount: Int { vector.byteCount }

  /// No room.
  @_lifetime(immortal)
  public init() {}

  /// One piece.
  @_lifetime(copy bytes)
  public init(_ bytes: consuming MutableRawSpan) {
    self.init()
    append(bytes)
  }

  /// One piece.
  @_lifetime(&bytes)
  public init(_ bytes: inout MutableSpan<UInt8>) {
    // SAFETY: every bit pattern is a valid byte.
    self.init(unsafe bytes.mutableBytes)
  }

  /// Adds a piece behind the others.
  @_lifetime(self: copy self, copy bytes)
  public mutating func append(_ bytes: consuming MutableRawSpan) {
    // SAFETY: the address is written through only while this value has exclusive access to the
    // bytes.
    unsafe bytes.withUnsafeMutableBytes { unsafe vector.append($0) }
  }
}

/// Addresses and lengths for one system call (`struct iovec`); the first eight need no allocation.
/// It keeps no memory alive: ``GatherBuffers`` and ``ScatterBuffers`` borrow the memory.
@safe
struct IOVector {
  private var inline: InlineArray<8, iovec>
  private var spill: [iovec]
  /// How many entries are stored in the value itself.
  private let inlineCount: Int

  /// The number of pieces.
  private(set) var count = 0

  /// The total number of bytes.
  private(set) var byteCount = 0

  /// - Parameter staysInPlace: Whether the kernel may read the list while a task waits. The list is
  ///   then in an allocation, because the value itself may be moved.
  init(staysInPlace: Bool = false) {
    inlineCount = staysInPlace ? 0 : 8
    unsafe inline = InlineArray(repeating: iovec())
    unsafe spill = []
  }

  mutating func append(_ piece: UnsafeMutableRawBufferPointer) {
    let entry = unsafe iovec(iov_base: piece.baseAddress, iov_len: numericCast(piece.count))
    if count < inlineCount {
      unsafe inline[count] = entry
    } else {
      if count == inlineCount { for index in 0..<count { unsafe spill.append(inline[index]) } }
      unsafe spill.append(entry)
    }
    count += 1
    byteCount += piece.count
  }

  /// The entries. They do not move while this value is borrowed.
  var entries: Span<iovec> {
    @_lifetime(borrow self)
    borrowing get {
      unsafe count > inlineCount ? spill.span : inline.span.extracting(first: count)
    }
  }

  /// Passes the entries to a system call.
  borrowing func withUnsafeEntries<R, E: Error>(_ body: (UnsafeBufferPointer<iovec>) throws(E) -> R)
    throws(E) -> R
  {
    // SAFETY: responsibility passes to the caller.
    try unsafe entries.withUnsafeBufferPointer(body)
  }
}
