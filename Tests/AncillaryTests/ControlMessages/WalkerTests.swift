// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CMessageSockets
import Testing

@Suite struct WalkerTests {
  /// The result of walking `bytes`: kind and payload of each message, whether it was truncated, and
  /// the remainder.
  struct Walk: Equatable {
    var payloads: [[UInt8]] = []
    var truncated: [Bool] = []
    var remainder: [UInt8] = []

    init(_ bytes: [UInt8]) {
      withSpan(bytes) { span in
        var iterator = ControlMessages(span).makeIterator()
        while let message = iterator.next() {
          payloads.append(message.data.array)
          truncated.append(message.isTruncated)
        }
        remainder = iterator.remainder.array
      }
    }
  }

  static func message(_ payload: [UInt8], statedLength: UInt? = nil, padded: Bool = true) -> [UInt8]
  {
    var control = RawControl()
    control.add(level: 1, type: 99, payload: payload, statedLength: statedLength, padded: padded)
    return control.bytes
  }

  @Test func sizesEqualTheMacros() {
    for length in 0...2048 {
      #expect(ControlMessages.space(for: length) == cms_cmsg_space(length))
      #expect(ControlMessages.length(for: length) == cms_cmsg_len(length))
      #expect(ControlMessages.align(length) == cms_cmsg_align(length))
    }
  }

  @Test func emptyBuffer() {
    let walk = Walk([])
    #expect(walk.payloads.isEmpty)
    #expect(walk.remainder.isEmpty)
    let isEmpty = withSpan([]) { ControlMessages($0).isEmpty }
    #expect(isEmpty)
  }

  @Test func messagesOfEveryPayloadLength() {
    for length in 0...40 {
      let payload = (0..<length).map(UInt8.init)
      let walk = Walk(Self.message(payload) + Self.message([0xAB]))
      #expect(walk.payloads == [payload, [0xAB]])
      #expect(walk.truncated == [false, false])
      #expect(walk.remainder.isEmpty)
    }
  }

  /// The C macros hide the last message if the buffer's length is not a multiple of eight; the
  /// kernel produces such buffers.
  @Test func lastMessageWithoutPadding() {
    let walk = Walk(Self.message([1, 2, 3, 4]) + Self.message([5], padded: false))
    #expect(walk.payloads == [[1, 2, 3, 4], [5]])
    #expect(walk.remainder.isEmpty)
  }

  @Test(arguments: 1...15) func fragmentOfAHeaderIsTheRemainder(_ count: Int) {
    let fragment = Array(Self.message([9]).prefix(count))
    let walk = Walk(Self.message([1]) + fragment)
    #expect(walk.payloads == [[1]])
    #expect(walk.remainder == fragment)
  }

  @Test(arguments: [0, 1, 4, 15] as [UInt]) func lengthBelowTheHeaderEndsTheWalk(_ length: UInt) {
    let bad = Self.message([7, 7, 7, 7], statedLength: length)
    let walk = Walk(Self.message([1]) + bad + Self.message([2]))
    #expect(walk.payloads == [[1]])
    #expect(walk.remainder == bad + Self.message([2]))
  }

  @Test(arguments: [25, 1000, UInt(Int.max), UInt(Int.max) + 1, .max - 7, .max - 6, .max])
  func lengthPastTheEndIsTruncated(_ length: UInt) {
    let walk = Walk(Self.message([1]) + Self.message([7, 7, 7, 7], statedLength: length))
    #expect(walk.payloads == [[1], [7, 7, 7, 7, 0xEE, 0xEE, 0xEE, 0xEE]])
    #expect(walk.truncated == [false, true])
    #expect(walk.remainder.isEmpty)
  }

  @Test(arguments: 0..<8) func everyAlignment(_ shift: Int) {
    let bytes = Self.message([1, 2, 3]) + Self.message([4, 5])
    withSpan(Array(repeating: 0xFF, count: shift) + bytes) { span in
      let messages = ControlMessages(span.extracting(droppingFirst: shift))
      let count = messages.count
      #expect(count == 2)
    }
  }

  @Test func findsTheFirstOfAKind() {
    var control = RawControl()
    control.add(level: 5, type: 6, payload: [1])
    control.add(level: 5, type: 7, payload: [2])
    control.add(level: 5, type: 7, payload: [3])
    withSpan(control.bytes) { span in
      let messages = ControlMessages(span)
      let found = messages.first(of: ControlMessageKind(level: 5, type: 7))?.data.array
      #expect(found == [2])
      let missing = messages.first(of: ControlMessageKind(level: 6, type: 7)) == nil
      #expect(missing)
      var types: [Int32] = []
      messages.forEach { types.append($0.type) }
      #expect(types == [6, 7, 7])
    }
  }

  /// For any bytes, the walk ends, never reads outside the buffer (the span would trap), and
  /// accounts for every byte.
  @Test func randomBytes() {
    var generator = SeededGenerator(seed: 3430)
    for _ in 0..<20_000 {
      var bytes = (0..<Int.random(in: 0...96, using: &generator)).map { _ in
        UInt8.random(in: 0...255, using: &generator)
      }
      // Make headers plausible, because otherwise the walk would end immediately.
      for start in stride(from: 0, to: bytes.count - 8, by: 24) where Bool.random(using: &generator)
      {
        bytes.replaceSubrange(
          start..<start + 8, with: littleEndian(UInt64.random(in: 0...40, using: &generator)))
      }
      let walk = Walk(bytes)
      let walked = walk.payloads.reduce(0) { $0 + 16 + $1.count }
      #expect(walked + walk.remainder.count <= bytes.count)
      #expect(walk.truncated.dropLast().allSatisfy { !$0 })
    }
  }
}
