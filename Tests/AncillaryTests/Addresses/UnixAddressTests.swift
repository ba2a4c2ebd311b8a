// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage
import Testing

@Suite struct UnixAddressTests {
  static func encoded(_ address: some SocketAddress) -> [UInt8] {
    address.withSocketAddressBytes { $0.array }
  }
  static func decoded(_ bytes: [UInt8]) throws(AncillaryError) -> UnixAddress {
    try withSpan(bytes) { (span) throws(AncillaryError) in try UnixAddress(decoding: span) }
  }
  static func path(_ length: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(ascii: "p"), count: length)
  }

  @Test(arguments: [1, 2, 50, 106, 107]) func pathsCarryTheirNUL(_ length: Int) throws {
    let address = try UnixAddress(pathBytes: Self.path(length))
    let bytes = Self.encoded(address)
    #expect(bytes == [1, 0] + Self.path(length) + [0])
    #expect(try Self.decoded(bytes) == address)
    #expect(address.path == FilePath(String(repeating: "p", count: length)))
  }

  @Test func pathOfAllBytesHasNoNUL() throws {
    let address = try UnixAddress(pathBytes: Self.path(108))
    #expect(Self.encoded(address) == [1, 0] + Self.path(108))
    #expect(try Self.decoded(Self.encoded(address)) == address)
    // The form in which getsockname(2) returns it: one byte longer than a sockaddr_un.
    #expect(try Self.decoded([1, 0] + Self.path(108) + [0]) == address)
  }

  @Test func tooLong() {
    #expect(throws: AncillaryError(code: .addressTooLong, actual: 109, limit: 108)) {
      try UnixAddress(pathBytes: Self.path(109))
    }
    #expect(throws: AncillaryError(code: .addressTooLong, actual: 108, limit: 107)) {
      try UnixAddress(abstract: Self.path(108))
    }
  }

  @Test func malformedPaths() {
    #expect(throws: AncillaryError(code: .malformedAddress)) { try UnixAddress(path: "") }
    #expect(throws: AncillaryError(code: .malformedAddress)) {
      try UnixAddress(pathBytes: [65, 0, 66])
    }
  }

  @Test(arguments: [[], [0], [65, 0, 66], [65, 0, 0], path(107)] as [[UInt8]])
  func abstractNamesKeepEveryByte(_ name: [UInt8]) throws {
    let address = try UnixAddress(abstract: name)
    #expect(Self.encoded(address) == [1, 0, 0] + name)
    let decoded = try Self.decoded(Self.encoded(address))
    #expect(decoded == address)
    #expect(decoded.kind == .abstract)
    #expect(decoded.path == nil)
  }

  @Test func unnamed() throws {
    #expect(Self.encoded(UnixAddress.unnamed) == [1, 0])
    #expect(try Self.decoded([1, 0]) == .unnamed)
    #expect(try Self.decoded([]) == .unnamed)
    #expect(UnixAddress.autobind == .unnamed)
  }

  @Test func addressesOfAnyFamily() throws {
    let unix = AnySocketAddress(try UnixAddress(abstract: "name"))
    #expect(unix.unix?.description == "@name")
    #expect(unix.internet == nil)
    #expect(unix.family == 1)
    #expect(throws: AncillaryError(code: .wrongFamily, actual: 1, limit: 2)) {
      try unix.decode(as: InternetAddress.self)
    }
    let internet = AnySocketAddress(InternetAddress(.loopback, port: 80))
    #expect(internet.internet == InternetAddress(.loopback, port: 80))
    #expect(internet.unix == nil)
    #expect((unix.description, internet.description) == ("@name", "127.0.0.1:80"))
  }

  @Test func otherFamiliesAndFragments() {
    #expect(throws: AncillaryError(code: .wrongFamily, actual: 2, limit: 1)) {
      try Self.decoded([2, 0, 0, 80])
    }
    #expect(throws: AncillaryError(code: .malformedAddress)) { try Self.decoded([1]) }
    #expect(throws: AncillaryError.self) { try Self.decoded([1, 0] + Self.path(200)) }
  }

  @Test(arguments: [
    ("/run/app.sock", "/run/app.sock"), ("relative", "relative"), ("@name", "@name"), ("*", "*"),
    ("@", "@"),
    ("\\x40path", "\\x40path"), ("\\x2a", "\\x2a"), ("@a\\x00b", "@a\\x00b"),
    ("/back\\x5cslash", "/back\\x5cslash"),
    ("/grün", "/grün"), ("@@", "@@"),
  ])
  func textBothWays(_ text: String, _ description: String) throws {
    let address = try #require(UnixAddress(text))
    #expect(address.description == description)
    #expect(UnixAddress(address.description) == address)
  }

  @Test(arguments: [
    "", "\\", "\\x", "\\x4", "\\xzz", "\\n", "\\x+1", "@\\x-0", "\\x 1", "\\x4g", "\\xé",
    "/a\\x00b",
  ]) func brokenText(
    _ text: String
  ) {
    #expect(UnixAddress(text) == nil)
  }

  @Test func everyNameSurvivesText() throws {
    var generator = SeededGenerator(seed: 108)
    for _ in 0..<2000 {
      let name = (0..<Int.random(in: 0...107, using: &generator)).map { _ in
        UInt8.random(in: 0...255, using: &generator)
      }
      let abstract = try UnixAddress(abstract: name)
      #expect(UnixAddress(abstract.description) == abstract)
      if !name.isEmpty, !name.contains(0) {
        let path = try UnixAddress(pathBytes: name)
        #expect(UnixAddress(path.description) == path)
      }
    }
  }

  @Test func filePathsAreBytes() throws {
    let odd = FilePath(platformString: [47, -1, -2, 0])
    let address = try UnixAddress(path: odd)
    #expect(address.nameBytes == [47, 0xFF, 0xFE])
    #expect(address.path == odd)
  }
}
