// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

@testable import ServiceManagement

@Suite struct HandOverMessageTests {
  static let messages: [HandOverMessage] = [
    .hello(protocolVersion: 1, stateVersion: 0x0102_0304),
    .offer(protocolVersion: 1, descriptors: 300, stateLength: 1 << 40),
    .batch(first: 1, [HandOverEntry(name: ""), HandOverEntry(name: "web", file: [1, 2])]),
    .received(254), .state([1, 2, 3]), .state([]),
    .ready, .go, .serving, .drained, .refusal(.busy, "later"), .refusal(.other, ""),
  ]

  @Test(arguments: messages) func bytesAndBack(message: HandOverMessage) throws {
    #expect(try HandOverMessage(decoding: message.encoded) == message)
  }

  /// As documented in Docs/Wire.md.
  @Test func theDocumentedBytes() {
    #expect(
      HandOverMessage.hello(protocolVersion: 1, stateVersion: 7).encoded == [
        1, 0x4D, 0x53, 0x48, 0x4F, 1, 0, 7, 0, 0, 0,
      ])
    #expect(
      HandOverMessage.offer(protocolVersion: 1, descriptors: 2, stateLength: 5).encoded == [
        2, 1, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0,
      ])
    #expect(
      HandOverMessage.batch(first: 1, [HandOverEntry(name: "web", file: [1, 2])]).encoded
        == [
          3, 1, 0, 0, 0, 1, 0, 1, 3, 0x77, 0x65, 0x62, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
          0,
        ])
    #expect(HandOverMessage.received(2).encoded == [4, 2, 0, 0, 0])
    #expect(HandOverMessage.refusal(.busy, "no").encoded == [15, 1, 0x6E, 0x6F])
  }

  @Test(arguments: messages) func whatIsCutOrLengthenedIsMalformed(message: HandOverMessage) {
    let bytes = message.encoded
    // These end with a text, or with bytes of any length.
    let isOpen = bytes[0] == 5 || bytes[0] == 15
    for length in 0..<bytes.count where !isOpen || length < 1 {
      #expect(throws: ServiceError.self) { try HandOverMessage(decoding: Array(bytes[..<length])) }
    }
    if !isOpen { #expect(throws: ServiceError.self) { try HandOverMessage(decoding: bytes + [0]) } }
  }

  @Test(
    arguments: [
      [], [0], [16], [255], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0],
      [3, 0, 0, 0, 0, 254, 0], [3, 0, 0, 0, 0, 255, 255],
      [3, 0, 0, 0, 0, 1, 0, 2, 0], [3, 0, 0, 0, 0, 1, 0, 0, 1, 10],
      [3, 0, 0, 0, 0, 1, 0, 0, 1, 0xC3],
      [5] + [UInt8](repeating: 0, count: 32_768),
    ] as [[UInt8]]) func malformedBytes(bytes: [UInt8])
  {
    #expect(throws: ServiceError.self) { try HandOverMessage(decoding: bytes) }
  }

  @Test func anyBytesAreReadWithoutATrap() {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      var bytes = [UInt8](
        (0..<Int.random(in: 0...40, using: &random)).map { _ in
          UInt8.random(in: 0...255, using: &random)
        })
      if !bytes.isEmpty { bytes[0] = UInt8.random(in: 0...16, using: &random) }
      guard let message = try? HandOverMessage(decoding: bytes) else { continue }
      // Invalid UTF-8 is repaired.
      if bytes[0] != 15 { #expect(message.encoded == bytes) }
    }
  }
}
