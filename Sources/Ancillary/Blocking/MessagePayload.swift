// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The bytes of one message to be sent: an array, a span or a string; or several pieces, as
/// ``GatherBuffers``.
///
/// A send borrows its payload until it returns, and copies nothing of arrays and spans. Strings,
/// inline arrays and the list of several pieces are copied: their bytes may be anywhere, as in a
/// register, and the kernel reads them while the task waits. Conform a type of your own by
/// handing out the bytes of one that conforms:
/// ```swift
/// extension Frame: MessagePayload {
///   var payloadBytes: PayloadBytes { @_lifetime(borrow self) borrowing get { bytes.payloadBytes } }
/// }
/// ```
public protocol MessagePayload: ~Copyable, ~Escapable {
  /// Where the bytes are. They stay there, and as they are, while the value is borrowed.
  var payloadBytes: PayloadBytes { @_lifetime(borrow self) borrowing get }
}

/// Where the bytes of a ``MessagePayload`` are: in one piece or in several.
///
/// `@unchecked Sendable`: the bytes are only read, and nobody can write them while this value
/// borrows them.
@safe
@frozen
public struct PayloadBytes: ~Escapable, @unchecked Sendable {
  /// The only piece, or where the several are listed, as `struct iovec`.
  @usableFromInline let start: UnsafeRawPointer?
  /// How many bytes there are.
  public let byteCount: Int
  /// How many pieces are listed; 0 for one that is not.
  @usableFromInline let listedPieces: Int
  /// The memory at ``start``, where that is this value's own. ``keepAlive()`` ends its use.
  @usableFromInline let copy: PayloadCopy?

  /// One piece.
  @inlinable
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) {
    // SAFETY: the address is used only while this value lives, which depends on the same memory.
    unsafe start = bytes.withUnsafeBytes { $0.baseAddress }
    byteCount = bytes.byteCount
    listedPieces = 0
    copy = nil
  }

  /// One piece, which is copied: bytes that have no place of their own, as those of a short string.
  @usableFromInline
  @_lifetime(immortal)
  init(copying bytes: RawSpan) {
    // SAFETY: read during the call only.
    let copy = unsafe bytes.withUnsafeBytes { unsafe PayloadCopy($0) }
    unsafe start = UnsafeRawPointer(copy.start)
    byteCount = bytes.byteCount
    listedPieces = 0
    self.copy = copy
  }

  /// Several pieces, with `byteCount` bytes in all. The list is copied, the pieces are not.
  @_lifetime(copy pieces)
  init(listedIn pieces: Span<iovec>, byteCount: Int) {
    // SAFETY: read during the call only.
    let copy = unsafe pieces.withUnsafeBufferPointer {
      unsafe PayloadCopy(UnsafeRawBufferPointer($0))
    }
    unsafe start = UnsafeRawPointer(copy.start)
    self.byteCount = byteCount
    unsafe listedPieces = pieces.count
    self.copy = copy
  }

  /// To be called when the bytes are no longer read: a copy lives as long.
  @inlinable
  package func keepAlive() { withExtendedLifetime(copy) {} }

  /// How many pieces there are.
  @inlinable
  package var pieceCount: Int { listedPieces == 0 ? 1 : listedPieces }

  /// Shows the only piece's memory; nil if there are several.
  @unsafe
  @inlinable
  package var onlyPiece: UnsafeRawBufferPointer? {
    listedPieces == 0 ? unsafe UnsafeRawBufferPointer(start: start, count: byteCount) : nil
  }

  /// Shows each piece's memory, in order.
  @unsafe
  package func forEachPiece(_ body: (UnsafeRawBufferPointer) -> Void) {
    guard listedPieces > 0 else { return unsafe body(onlyPiece!) }
    // SAFETY: this value depends on the list.
    let pieces = unsafe UnsafeBufferPointer(
      start: start!.assumingMemoryBound(to: iovec.self), count: listedPieces)
    for index in pieces.indices {
      unsafe body(
        UnsafeRawBufferPointer(start: pieces[index].iov_base, count: Int(pieces[index].iov_len)))
    }
  }
}

/// Memory that a payload has of its own.
///
/// `@unchecked Sendable`: never written after it was filled.
@safe
@usableFromInline
final class PayloadCopy: @unchecked Sendable {
  let start: UnsafeMutableRawPointer

  init(_ bytes: UnsafeRawBufferPointer) {
    // SAFETY: freed in deinit; there is room for the bytes.
    unsafe start = .allocate(byteCount: max(1, bytes.count), alignment: 16)
    if let source = bytes.baseAddress {
      unsafe start.copyMemory(from: source, byteCount: bytes.count)
    }
  }

  deinit { unsafe start.deallocate() }
}

// SAFETY (all of these): every byte of these is initialised.

extension RawSpan: MessagePayload {
  @inlinable public var payloadBytes: PayloadBytes {
    @_lifetime(borrow self) borrowing get { PayloadBytes(copy self) }
  }
}

extension Span: MessagePayload where Element == UInt8 {
  @inlinable public var payloadBytes: PayloadBytes {
    @_lifetime(borrow self) borrowing get { PayloadBytes(unsafe bytes) }
  }
}

extension Array: MessagePayload where Element == UInt8 {
  @inlinable public var payloadBytes: PayloadBytes {
    @_lifetime(borrow self) borrowing get { PayloadBytes(unsafe span.bytes) }
  }
}

extension ArraySlice: MessagePayload where Element == UInt8 {
  @inlinable public var payloadBytes: PayloadBytes {
    @_lifetime(borrow self) borrowing get { PayloadBytes(unsafe span.bytes) }
  }
}

/// A copy of the bytes.
extension InlineArray: MessagePayload where Element == UInt8 {
  @inlinable public var payloadBytes: PayloadBytes {
    @_lifetime(borrow self) borrowing get { PayloadBytes(copying: unsafe span.bytes) }
  }
}

/// A copy of the string's UTF-8.
extension String: MessagePayload {
  @inlinable public var payloadBytes: PayloadBytes {
    @_lifetime(borrow self) borrowing get { PayloadBytes(copying: unsafe utf8Span.span.bytes) }
  }
}

extension GatherBuffers: MessagePayload {
  public var payloadBytes: PayloadBytes {
    @_lifetime(borrow self)
    borrowing get { unsafe PayloadBytes(listedIn: vector.entries, byteCount: byteCount) }
  }
}
