// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Testing

@Suite struct InternetAddressTests {
  static func decoded(_ bytes: [UInt8]) throws(AncillaryError) -> InternetAddress {
    try withSpan(bytes) { (span) throws(AncillaryError) in try InternetAddress(decoding: span) }
  }

  @Test func bytesOfV4() throws {
    let address = InternetAddress(IPv4Address(192, 0, 2, 1), port: 0x1234)
    let bytes = UnixAddressTests.encoded(address)
    #expect(bytes == [2, 0, 0x12, 0x34, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    #expect(try Self.decoded(bytes) == address)
  }

  @Test func bytesOfV6() throws {
    let address = InternetAddress(
      IPv6Address(high: 0xFE80 << 48, low: 0x0102), port: 80, scopeID: 3, flowInfo: 0x0A0B0C)
    let bytes = UnixAddressTests.encoded(address)
    #expect(
      bytes == [10, 0, 0, 80, 0, 0x0A, 0x0B, 0x0C, 0xFE, 0x80] + [UInt8](repeating: 0, count: 12)
        + [1, 2, 3, 0, 0, 0])
    #expect(try Self.decoded(bytes) == address)
  }

  @Test func brokenBytes() {
    #expect(throws: AncillaryError(code: .malformedAddress)) { try Self.decoded([]) }
    #expect(throws: AncillaryError(code: .malformedAddress, actual: 15, limit: 16)) {
      try Self.decoded([2, 0] + [UInt8](repeating: 0, count: 13))
    }
    #expect(throws: AncillaryError(code: .malformedAddress, actual: 27, limit: 28)) {
      try Self.decoded([10, 0] + [UInt8](repeating: 0, count: 25))
    }
    #expect(throws: AncillaryError(code: .wrongFamily, actual: 1, limit: 2)) {
      try Self.decoded([1, 0, 65, 0])
    }
  }

  @Test(arguments: [
    "0.0.0.0:0", "127.0.0.1:65535", "[::]:1", "[::1]:80", "[fe80::1%2]:443",
    "[2001:db8::1:0:0:1]:9",
  ])
  func textBothWays(_ text: String) throws {
    #expect(try #require(InternetAddress(text)).description == text)
  }

  @Test(arguments: [
    "", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:080", "127.0.0.1:+1",
    "::1:80", "[::1]",
    "[::1:80", "[]:80",
    "[::1%]:80", "[::1%x]:80", "[1.2.3.4]:80", "1.2.3:80",
  ])
  func brokenText(_ text: String) { #expect(InternetAddress(text) == nil) }

  @Test(
    arguments: [
      ("::", 0, 0), ("::1", 0, 1), ("1::", 1 << 48, 0),
      ("1:2:3:4:5:6:7:8", 0x0001_0002_0003_0004, 0x0005_0006_0007_0008),
      ("2001:db8::1:0:0:1", 0x2001_0db8_0000_0000, 0x0001_0000_0000_0001),
      ("1:0:0:2::3", 0x0001_0000_0000_0002, 3),
      ("::ffff:1.2.3.4", 0, 0xFFFF_0102_0304),
      ("1:2:3:4:5:6:7:0", 0x0001_0002_0003_0004, 0x0005_0006_0007_0000),
    ] as [(String, UInt64, UInt64)])
  func formsOfV6(_ text: String, _ high: UInt64, _ low: UInt64) throws {
    let address = try #require(IPv6Address(text))
    #expect(address == IPv6Address(high: high, low: low))
    #expect(IPv6Address(address.description) == address)
  }

  /// RFC 5952: shortens the longest run of zeros, the first of equal runs, never a single group;
  /// lower case.
  @Test(arguments: [
    ("2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("1:0:2:0:0:0:0:3", "1:0:2::3"),
    ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
    ("0:0:0:0:0:0:0:0", "::"), ("1:0:0:0:0:0:0:0", "1::"),
    ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
  ])
  func canonicalForm(_ text: String, _ canonical: String) throws {
    #expect(try #require(IPv6Address(text)).description == canonical)
  }

  @Test(arguments: [
    ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::",
    "1:2:3:4:5:6:7::8", "::1.2.3",
    "1.2.3.4::", "+1::", "1:", ":1",
    "::1.2.3.4:5", "::%1",
  ])
  func brokenV6(_ text: String) { #expect(IPv6Address(text) == nil) }

  @Test func everyV6SurvivesText() {
    var generator = SeededGenerator(seed: 5952)
    for _ in 0..<5000 {
      let mask =
        UInt64.random(in: 0...UInt64.max, using: &generator)
        & UInt64.random(in: 0...UInt64.max, using: &generator)
      let address = IPv6Address(
        high: mask & 0xFFFF_0000_FFFF_0000, low: mask & 0x0000_FFFF_0000_FFFF)
      #expect(IPv6Address(address.description) == address)
      let four = IPv4Address(UInt32(truncatingIfNeeded: mask))
      #expect(IPv4Address(four.description) == four)
      #expect(IPv6Address(mapping: four).mappedIPv4 == four)
    }
  }

  @Test(arguments: [
    "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1..2.3", "1.2.3.-4", " 1.2.3.4",
  ])
  func brokenV4(_ text: String) { #expect(IPv4Address(text) == nil) }
}
