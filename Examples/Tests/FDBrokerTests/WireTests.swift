// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import fd_broker

@Suite struct WireTests {
  @Test(arguments: [0, 1, 255, 256, UInt32.max])
  func aRequestSurvivesTheWire(number: UInt32) {
    let request = Request(number: number, name: "a/ü.txt")
    #expect(Request(decoding: request.encoded) == request)
  }

  @Test func aReplySurvivesTheWire() {
    let reply = Reply(status: .notFound, request: Request(number: 7, name: "x"))
    #expect(Reply(decoding: reply.encoded) == reply)
  }

  @Test(arguments: [[], [0], [0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1, 0xFF]] as [[UInt8]])
  func otherBytesAreNoRequest(bytes: [UInt8]) {
    #expect(Request(decoding: bytes) == nil)
    #expect(Reply(decoding: bytes) == nil)
  }

  @Test func anUnknownStatusIsNoReply() {
    #expect(Reply(decoding: [99] + Request(number: 1, name: "x").encoded) == nil)
  }
}
