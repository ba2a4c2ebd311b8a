// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage
import Testing

extension OpeningDescriptors {
  @Suite struct RightsEncodingTests {
    @Test(arguments: [0, 1, 2, 3, 4, 5, 253]) func encodesTheNumbersInOrder(_ count: Int) throws {
      let canaries = Canaries(count)
      let span = canaries.writers.span
      let numbers = span.indices.map { span[$0].withUnsafeFileDescriptor(\.rawValue) }
      var memory = [UInt8](repeating: 0xDD, count: 2048)
      let used = try unsafe memory.withUnsafeMutableBytes {
        try unsafe ControlMessages.encodeRights(span, into: $0)
      }
      #expect(used == (count == 0 ? 0 : ControlMessages.space(forDescriptors: count)))
      let payloads = WalkerTests.Walk(Array(memory[..<used])).payloads
      #expect(payloads == (count == 0 ? [] : [numbers.flatMap(littleEndian)]))
    }

    @Test func buildersLendDescriptorsBesideOtherMessages() throws {
      let canaries = Canaries(2)
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 128, alignment: 1)
      defer { unsafe bytes.deallocate() }
      var builder = ControlMessageBuilder(unsafe OutputRawSpan(buffer: bytes, initializedCount: 0))
      try builder.append(RoutingMark(1))
      try builder.append(descriptors: canaries.writers.span)
      let (count, used) = (builder.messages.count, builder.byteCount)
      #expect((count, used) == (2, 48))
      let output = builder.finish()
      #expect(output.byteCount == 48)
    }

    @Test func rawDescriptorsEncodeTheSame() throws {
      let descriptors = [
        FileDescriptor(rawValue: 5), FileDescriptor(rawValue: 9), FileDescriptor(rawValue: 700),
      ]
      var memory = [UInt8](repeating: 0xDD, count: 64)
      let used = try unsafe memory.withUnsafeMutableBytes {
        try unsafe ControlMessages.encodeRights(descriptors.span, into: $0)
      }
      var expected = RawControl()
      expected.add(
        level: 1, type: 1,
        payload: [5, 9, 700].flatMap { littleEndian(Int32($0)) } + [0, 0, 0, 0], statedLength: 28)
      #expect(Array(memory[..<used]) == expected.bytes)
    }

    @Test func moreThanTheMaximumIsAnErrorHere() {
      let descriptors = [FileDescriptor](repeating: FileDescriptor(rawValue: 0), count: 254)
      var memory = [UInt8](repeating: 0, count: 2048)
      #expect(throws: AncillaryError(code: .tooManyDescriptors, actual: 254, limit: 253)) {
        try unsafe memory.withUnsafeMutableBytes {
          _ = try unsafe ControlMessages.encodeRights(descriptors.span, into: $0)
        }
      }
      #expect(ControlMessages.maximumDescriptors == 253)
    }

    @Test func noCapacity() {
      let descriptors = [FileDescriptor](repeating: FileDescriptor(rawValue: 0), count: 3)
      var memory = [UInt8](repeating: 0xDD, count: 31)
      #expect(throws: AncillaryError(code: .noCapacity, actual: 32, limit: 31)) {
        try unsafe memory.withUnsafeMutableBytes {
          _ = try unsafe ControlMessages.encodeRights(descriptors.span, into: $0)
        }
      }
      #expect(memory == [UInt8](repeating: 0xDD, count: 31))
    }
  }
}
