// SPDX-License-Identifier: Apache-2.0
extension UInt32 {
  /// Four bytes, most significant first.
  var bigEndianBytes: [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: self >> $0) } }

  /// Nil unless there are exactly four bytes.
  init?(bigEndianBytes bytes: some Collection<UInt8>) {
    guard bytes.count == 4 else { return nil }
    self = bytes.reduce(0) { $0 << 8 | UInt32($1) }
  }
}
