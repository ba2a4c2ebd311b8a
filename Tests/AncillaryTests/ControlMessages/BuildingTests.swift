// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Testing

@Suite struct BuildingTests {
  /// Builds into exactly `capacity` bytes that are pre-filled with garbage, and returns the written
  /// bytes.
  static func build(
    capacity: Int, _ body: (inout ControlMessageBuilder) throws -> Void
  ) rethrows -> [UInt8] {
    var memory = [UInt8](repeating: 0xDD, count: capacity)
    return try unsafe memory.withUnsafeMutableBytes { bytes in
      let memory = unsafe OutputRawSpan(buffer: bytes, initializedCount: 0)
      var builder = ControlMessageBuilder(memory)
      try body(&builder)
      let written = builder.finish()
      return written.bytes.array
    }
  }

  static func append(_ payload: [UInt8], to builder: inout ControlMessageBuilder)
    throws(AncillaryError)
  {
    try builder.append(level: 1, type: 9, bytes: unsafe payload.span.bytes)
  }

  @Test func writesWhatTheWalkerReads() throws {
    for length in 0...40 {
      let payload = (0..<length).map(UInt8.init)
      let bytes = try Self.build(capacity: 512) { builder in
        try Self.append(payload, to: &builder)
        try Self.append([1], to: &builder)
      }
      #expect(bytes.count == ControlMessages.space(for: length) + ControlMessages.space(for: 1))
      #expect(WalkerTests.Walk(bytes).payloads == [payload, [1]])
    }
  }

  @Test func paddingIsZeroed() throws {
    let bytes = try Self.build(capacity: 64) { try Self.append([1], to: &$0) }
    #expect(Array(bytes[17...]) == Array(repeating: 0, count: 7))
  }

  @Test(arguments: 0..<24) func tooSmallReportsNoCapacityAndWritesNothing(_ capacity: Int) {
    let bytes = Self.build(capacity: capacity) { builder in
      #expect(throws: AncillaryError(code: .noCapacity, actual: 24, limit: capacity)) {
        try Self.append([1, 2], to: &builder)
      }
      #expect(builder.byteCount == 0)
      #expect(builder.freeCapacity == capacity)
    }
    #expect(bytes.isEmpty)
  }

  @Test func exactlyEnough() throws {
    let bytes = try Self.build(capacity: 24) { builder in
      try Self.append([1, 2, 3, 4, 5, 6, 7, 8], to: &builder)
      #expect(builder.freeCapacity == 0)
      #expect(throws: AncillaryError.self) { try Self.append([], to: &builder) }
    }
    #expect(bytes.count == 24)
  }

  @Test func removeAllStartsAgain() throws {
    let bytes = try Self.build(capacity: 24) { builder in
      try Self.append([1], to: &builder)
      builder.removeAll()
      try Self.append([2], to: &builder)
    }
    #expect(WalkerTests.Walk(bytes).payloads == [[2]])
  }

  @Test func growingBufferGrows() {
    var buffer = ControlMessageBuffer()
    #expect(buffer.isEmpty)
    for length in 0..<100 {
      withSpan([UInt8](repeating: UInt8(length), count: length)) {
        buffer.append(level: 1, type: Int32(length), bytes: $0)
      }
    }
    #expect(buffer.messages.count == 100)
    #expect(buffer.byteCount == (0..<100).reduce(0) { $0 + ControlMessages.space(for: $1) })
    buffer.removeAll()
    #expect(buffer.isEmpty)
    #expect(buffer.capacity > 0)
  }

  @Test func reservedCapacityIsEnough() {
    var buffer = ControlMessageBuffer(capacity: ControlMessages.space(for: 12))
    let capacity = buffer.capacity
    buffer.append(Credentials(processID: 1, userID: 2, groupID: 3))
    #expect(buffer.capacity == capacity)
    #expect(buffer.byteCount == 32)
  }

  @Test func buffersAreValues() {
    var first = ControlMessageBuffer()
    first.append(Credentials(processID: 1, userID: 2, groupID: 3))
    var second = first
    #expect(first == second)
    second.append(Credentials(processID: 4, userID: 5, groupID: 6))
    #expect(first != second)
    #expect(first.messages.count == 1)
    let copy = withSpan(second.bytes) { ControlMessageBuffer(copying: $0) }
    #expect(copy == second)
  }

  @Test func buffersIterate() throws {
    var buffer = ControlMessageBuffer()
    buffer.append(HopLimit(.v4, 3))
    withSpan([1, 2, 3]) { buffer.append(level: 7, type: 8, bytes: $0) }
    var kept: [StoredControlMessage] = []
    for message in buffer { kept.append(message) }
    buffer.removeAll()
    #expect(kept.map(\.kind) == [.hopLimitV4, ControlMessageKind(level: 7, type: 8)])
    #expect(try kept[0].decode(as: HopLimit.self) == HopLimit(.v4, 3))
    let last = kept[1]
    let payload = last.data.array
    #expect(payload == [1, 2, 3])
  }

  /// The remainder of a truncated receive is kept byte for byte.
  @Test func buffersKeepTheUnparsedTail() {
    var control = RawControl()
    control.add(level: 1, type: 2, payload: [1, 2, 3, 4, 5, 6, 7, 8])
    let buffer = ControlMessageBuffer(bytes: control.bytes + [9, 9, 9])
    #expect(buffer.messages.count == 1)
    let tail = buffer.messages.remainder.array
    #expect(tail == [9, 9, 9])
  }
}
