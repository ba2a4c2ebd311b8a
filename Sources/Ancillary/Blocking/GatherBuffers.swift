// SPDX-License-Identifier: Apache-2.0
/// The pieces of memory that one send takes its payload from, in order. The C name is
/// `struct iovec` (writev(2)).
///
/// It borrows the pieces. Up to eight need no allocation; the system takes at most 1024
/// (`IOV_MAX`), and says `EMSGSIZE` beyond.
///
/// `@unchecked Sendable`: the pieces are only read, and nobody can write them while this value
/// borrows them.
public struct GatherBuffers: ~Copyable, ~Escapable, @unchecked Sendable {
  /// What goes to the system call.
  private(set) var vector = IOVector()

  /// How many pieces there are.
  public var count: Int { vector.count }

  /// How many bytes they have together.
  public var byteCount: Int { vector.byteCount }

  /// No payload.
  @_lifetime(immortal)
  public init() {}

  /// One piece.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) {
    self.init()
    append(bytes)
  }

  /// Adds a piece behind the others.
  @_lifetime(self: copy self, copy bytes)
  public mutating func append(_ bytes: RawSpan) {
    // SAFETY: the system only reads through the address, while this value borrows the bytes.
    unsafe bytes.withUnsafeBytes {
      unsafe vector.append(UnsafeMutableRawBufferPointer(mutating: $0))
    }
  }

  /// The pieces of a payload.
  @_lifetime(copy payload)
  init(_ payload: PayloadBytes) {
    self.init()
    // SAFETY: as above; this value depends on the same memory.
    unsafe payload.forEachPiece { unsafe vector.append(UnsafeMutableRawBufferPointer(mutating: $0)) }
  }
}
