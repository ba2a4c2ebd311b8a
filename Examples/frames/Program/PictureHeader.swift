// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// The bytes of a message: the width and height of the picture in the descriptor, four bytes each,
/// least significant byte first. A pixel is one byte each of red, green, blue and alpha.
struct PictureHeader: Equatable {
  static let byteCount = 8
  /// A picture of 16 megapixels.
  static let maximumSize = 64 << 20

  let width: Int
  let height: Int

  init(width: Int, height: Int) {
    self.width = width
    self.height = height
  }

  /// - Throws: ``Refusal`` if the bytes are no header, or the picture is empty or too large.
  ///   Whatever a client claims, the product of both numbers does not overflow.
  init(decoding bytes: [UInt8]) throws(Refusal) {
    guard bytes.count == Self.byteCount else { throw Refusal("no header") }
    let width = Int(UInt32(littleEndianBytes: bytes[0..<4]))
    let height = Int(UInt32(littleEndianBytes: bytes[4..<8]))
    guard width > 0, height > 0 else { throw Refusal("an empty picture") }
    let (count, overflows) = width.multipliedReportingOverflow(by: height * 4)
    guard !overflows, count <= Self.maximumSize else {
      throw Refusal("a picture that is too large")
    }
    self.init(width: width, height: height)
  }

  var encoded: [UInt8] {
    [width, height].flatMap { number in
      (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
    }
  }

  var pixelsByteCount: Int { width * height * 4 }
}

/// The reason for which the service refuses a picture.
struct Refusal: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

extension UInt32 {
  fileprivate init(littleEndianBytes bytes: ArraySlice<UInt8>) {
    self = bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }
}
