// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The bytes of one message to be sent: an array or a span; or several pieces, as
/// ``GatherBuffers``.
///
/// A send borrows its payload until it returns: nothing is copied. So the bytes must have a place
/// of their own: a short string and an inline array have none, and may be in a register while the
/// kernel reads. Send `Array(text.utf8)`. Conform a type of your own by handing out the bytes of an
/// array or a span that it holds:
/// ```swift
/// extension Frame: MessagePayload {
///   var payloadBytes: PayloadBytes { @_lifetime(borrow self) borrowing get { bytes.payloadBytes } }
/// }
/// ```
public protocol MessagePayload: ~Copyable, ~Escapable {
  /// Where the bytes are. They stay there, and as they are, while the value is borrowed.
  var payloadBytes: PayloadBytes { @_lifetime(borrow self) borrowing get }
}

/// The location of a ``MessagePayload``'s bytes, in one piece or in several.
///
/// `@unchecked Sendable`: the bytes are only read, and nothing can write them while this value
/// borrows them.
@safe
@frozen
public struct PayloadBytes: ~Escapable, @unchecked Sendable {
  /// The only piece, or the list of several pieces as `struct iovec`.
  @usableFromInline let start: UnsafeRawPointer?
  /// How many bytes there are.
  public let byteCount: Int
  /// How many pieces are listed; 0 for a single piece, which is not listed.
  @usableFromInline let listedPieces: Int

  /// One piece.
  @inlinable
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) {
    // SAFETY: the address is used only while this value lives, which depends on the memory of
    // `bytes`.
    unsafe start = bytes.withUnsafeBytes { $0.baseAddress }
    byteCount = bytes.byteCount
    listedPieces = 0
  }

  /// Creates a payload of several pieces, with `byteCount` bytes in total.
  @_lifetime(copy pieces)
  init(listedIn pieces: Span<iovec>, byteCount: Int) {
    // SAFETY: as above.
    unsafe start = pieces.withUnsafeBufferPointer { unsafe UnsafeRawPointer($0.baseAddress) }
    self.byteCount = byteCount
    unsafe listedPieces = pieces.count
  }

  /// The number of pieces.
  @inlinable
  package var pieceCount: Int { listedPieces == 0 ? 1 : listedPieces }

  /// The only piece's memory; nil if there are several pieces.
  @unsafe
  @inlinable
  package var onlyPiece: UnsafeRawBufferPointer? {
    listedPieces == 0 ? unsafe UnsafeRawBufferPointer(start: start, count: byteCount) : nil
  }

  /// Calls `body` with each piece's memory, in order.
  @unsafe
  package func forEachPiece(_ body: (UnsafeRawBufferPointer) -> Void) {
    guard listedPieces > 0 else { return unsafe body(onlyPiece!) }
    // SAFETY: this value depends on the memory of the list.
    let pieces = unsafe UnsafeBufferPointer(
      start: start!.assumingMemoryBound(to: iovec.self), count: listedPieces)
    for index in pieces.indices {
      unsafe body(
        UnsafeRawBufferPointer(start: pieces[index].iov_base, count: Int(pieces[index].iov_len)))
    }
  }
}

// SAFETY (all of these): every byte is initialized.

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

extension GatherBuffers: MessagePayload {
  public var payloadBytes: PayloadBytes {
    @_lifetime(borrow self)
    borrowing get { unsafe PayloadBytes(listedIn: vector.entries, byteCount: byteCount) }
  }
}
