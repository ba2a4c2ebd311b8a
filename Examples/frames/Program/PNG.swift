// SPDX-License-Identifier: Apache-2.0
/// A PNG file in its simplest form: eight bits each for red, green, blue and alpha, and a zlib
/// stream of stored blocks without compression (RFC 1950, RFC 1951).
enum PNG {
  static func encode(_ header: PictureHeader, pixels: Span<UInt8>) -> [UInt8] {
    precondition(pixels.count == header.pixelsByteCount, "The pixels are not those of the picture")
    var file: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
    file.reserveCapacity(pixels.count + pixels.count / 100 + 1024)
    // Colour type 6: red, green, blue, alpha; no interlacing.
    append("IHDR", bigEndian(header.width) + bigEndian(header.height) + [8, 6, 0, 0, 0], to: &file)
    append("IDAT", stored(rows(header, pixels)), to: &file)
    append("IEND", [], to: &file)
    return file
  }

  /// Each row, preceded by the filter type 0, "none".
  private static func rows(_ header: PictureHeader, _ pixels: Span<UInt8>) -> [UInt8] {
    var rows: [UInt8] = []
    rows.reserveCapacity(pixels.count + header.height)
    let length = header.width * 4
    for row in 0..<header.height {
      rows.append(0)
      for index in row * length..<(row + 1) * length { rows.append(pixels[index]) }
    }
    return rows
  }

  /// A zlib stream of uncompressed blocks of at most 65,535 bytes each.
  private static func stored(_ bytes: [UInt8]) -> [UInt8] {
    var stream: [UInt8] = [0x78, 0x01]
    var start = 0
    repeat {
      let end = min(start + 65535, bytes.count)
      let count = UInt16(end - start)
      stream.append(end == bytes.count ? 1 : 0)
      stream += [UInt8(count & 0xFF), UInt8(count >> 8), UInt8(~count & 0xFF), UInt8(~count >> 8)]
      stream += bytes[start..<end]
      start = end
    } while start < bytes.count
    return stream + bigEndian(Int(adler32(bytes)))
  }

  private static func append(_ type: String, _ data: [UInt8], to file: inout [UInt8]) {
    let body = Array(type.utf8) + data
    file += bigEndian(data.count) + body + bigEndian(Int(crc32(body)))
  }

  private static func bigEndian(_ number: Int) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
  }

  static func adler32(_ bytes: [UInt8]) -> UInt32 {
    var low: UInt32 = 1
    var high: UInt32 = 0
    for byte in bytes {
      low = (low + UInt32(byte)) % 65521
      high = (high + low) % 65521
    }
    return high << 16 | low
  }

  static func crc32(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(~0) { crc, byte in table[Int((crc ^ UInt32(byte)) & 0xFF)] ^ crc >> 8 }
  }

  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in
      value & 1 == 1 ? 0xEDB8_8320 ^ value >> 1 : value >> 1
    }
  }
}
