// SPDX-License-Identifier: Apache-2.0
/// An IPv4 address. The C name is `struct in_addr` (ip(7)).
public struct IPv4Address: Hashable, Sendable {
  /// The address as a number, most significant part first: 127.0.0.1 is 0x7F000001.
  public let value: UInt32

  /// An address from its number: 0x7F000001 is 127.0.0.1.
  public init(_ value: UInt32) { self.value = value }

  /// An address from its four parts.
  public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    self.init(UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d))
  }

  /// Any address: 0.0.0.0. The C name is `INADDR_ANY`.
  public static var any: IPv4Address { IPv4Address(0) }

  /// This host: 127.0.0.1. The C name is `INADDR_LOOPBACK`.
  public static var loopback: IPv4Address { IPv4Address(127, 0, 0, 1) }

  /// Reads the four bytes at `offset`, which must be in range.
  init(in bytes: RawSpan, at offset: Int) { self.init(bytes.loadBigEndian(at: offset)) }
}

extension IPv4Address: LosslessStringConvertible {
  /// Four decimal numbers with dots.
  public var description: String {
    "\(value >> 24).\(value >> 16 & 0xFF).\(value >> 8 & 0xFF).\(value & 0xFF)"
  }

  /// Reads exactly four decimal numbers without leading zeroes (some programs take those for
  /// octal).
  public init?(_ description: String) { self.init(parsing: description[...]) }

  init?(parsing text: Substring) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var value: UInt32 = 0
    for part in parts {
      guard let number = UInt8(plainDecimal: part) else { return nil }
      value = value << 8 | UInt32(number)
    }
    self.init(value)
  }
}

extension FixedWidthInteger {
  /// Parses a decimal number of ASCII digits only: no sign, no leading zero.
  init?(plainDecimal text: Substring) {
    guard !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
      text.utf8.count == 1 || text.utf8.first != 0x30
    else { return nil }
    self.init(text, radix: 10)
  }
}
