// SPDX-License-Identifier: Apache-2.0
/// A numbered message: a header of 13 bytes (number, length of the rest, flags), and bytes that are
/// determined by the number.
struct Frame {
  static let headerLength = 13

  let number: UInt64
  let length: Int
  let hasFile: Bool
  /// Whether this is the last message.
  let isLast: Bool

  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.headerLength + length)
    for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift * 8))) }
    for shift in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: length >> (shift * 8))) }
    bytes.append((hasFile ? 1 : 0) | (isLast ? 2 : 0))
    for index in 0..<length { bytes.append(Self.byte(at: index, of: number)) }
    return bytes
  }

  init(number: UInt64, length: Int, hasFile: Bool, isLast: Bool = false) {
    self.number = number
    self.length = length
    self.hasFile = hasFile
    self.isLast = isLast
  }

  /// Decodes a header; nil if there are not enough bytes.
  init?(header bytes: ArraySlice<UInt8>) {
    guard bytes.count >= Self.headerLength else { return nil }
    let start = bytes.startIndex
    number = (0..<8).reduce(0) { $0 | UInt64(bytes[start + $1]) << UInt64($1 * 8) }
    length = (0..<4).reduce(0) { $0 | Int(bytes[start + 8 + $1]) << ($1 * 8) }
    hasFile = bytes[start + 12] & 1 != 0
    isLast = bytes[start + 12] & 2 != 0
  }

  func isBody(_ bytes: ArraySlice<UInt8>) -> Bool {
    bytes.count == length && zip(bytes, 0...).allSatisfy { $0 == Self.byte(at: $1, of: number) }
  }

  private static func byte(at index: Int, of number: UInt64) -> UInt8 {
    UInt8(truncatingIfNeeded: number &* 31 &+ UInt64(index))
  }
}
