// SPDX-License-Identifier: Apache-2.0
/// The pieces of memory that one receive fills, in order. The C name is `struct iovec` (readv(2)).
///
/// It has exclusive access to the pieces while it lives. Up to eight need no allocation; the system
/// takes at most 1024 (`IOV_MAX`), and says `EMSGSIZE` beyond.
public struct ScatterBuffers: ~Copyable, ~Escapable {
  /// What goes to the system call.
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

  /// Adds a piece behind the others.
  @_lifetime(self: copy self, copy bytes)
  public mutating func append(_ bytes: consuming MutableRawSpan) {
    // SAFETY: the address is written through while this value has exclusive access to the bytes.
    unsafe bytes.withUnsafeMutableBytes { unsafe vector.append($0) }
  }
}
