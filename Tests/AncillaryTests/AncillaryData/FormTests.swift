// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage
import Testing

extension OpeningDescriptors {
  /// The forms of the RFC that no other suite uses.
  @Suite struct FormTests {
    @Test func bytesComeBack() {
      var control = RawControl()
      control.add(level: 1, type: 9, payload: [1, 2, 3])
      let bytes = withSpan(control.bytes) { ControlMessages($0).bytes.array }
      #expect(bytes == control.bytes)
    }

    @Test func buffersClearAndReserve() {
      var buffer = AncillaryDataBuffer(capacity: 64)
      buffer.append(HopLimit(.v4, 1))
      buffer.removeAll()
      let count = buffer.controlMessages.count
      #expect(count == 0)
      #expect(buffer.capacity == 64)
      buffer.reserveCapacity(65)
      #expect(buffer.capacity == 128)
      buffer.reserveCapacity(100)
      #expect(buffer.capacity == 128)
    }

    @Test func messagesAreCopiedBetweenBuffers() throws {
      var source = ControlMessageBuffer()
      source.append(HopLimit(.v4, 1))
      source.append(RoutingMark(2))
      var target = AncillaryDataBuffer()
      var iterator = source.messages.makeIterator()
      while let message = iterator.next() { target.append(message) }
      let bytes = target.controlMessages.bytes.array
      #expect(bytes == source.bytes)
    }

    @Test func fullLengthOfATruncatedDatagram() throws {
      var pair = socketPair(.datagram)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      #expect(try BlockingTests.send([1, 2, 3, 4, 5], OwnedFds(), on: sender) == 5)
      var memory = [UInt8](repeating: 0, count: 2)
      var span = memory.mutableSpan
      let result = try MessageReceiver(unsafe span.mutableBytes).options(.fullLength).receive(
        on: receiver)
      #expect(result.byteCount == 5)
      #expect(result.flags == .payloadTruncated)
    }

    /// A socket without a descriptor: it receives what it has sent.
    final class Echo: MessageSending, MessageReceiving {
      var messages: [ControlMessageBuffer] = []
      var lengths: [Int] = []

      func sendMessage(
        _ buffers: borrowing GatherBuffers, ancillary: borrowing AncillaryData, options: SendOptions
      ) throws(Errno) -> Int {
        messages.append(ControlMessageBuffer(copying: ancillary.controlMessages.bytes))
        lengths.append(buffers.byteCount)
        return buffers.byteCount
      }

      func receiveMessage(
        into buffers: borrowing ScatterBuffers, ancillary: inout AncillaryData,
        options: ReceiveOptions
      ) throws(Errno) -> ReceiveResult {
        guard !messages.isEmpty else { throw .resourceTemporarilyUnavailable }
        let control = messages.removeFirst().bytes
        let memory = unsafe ancillary.unsafeBeginReceive()
        unsafe memory.copyBytes(from: control)
        unsafe ancillary.unsafeEndReceive(byteCount: control.count)
        return ReceiveResult(byteCount: lengths.removeFirst(), flags: [])
      }
    }

    @Test func thirdPartySockets() throws {
      let socket = Echo()
      var outgoing = AncillaryDataBuffer()
      outgoing.append(RoutingMark(7))
      let payload: [UInt8] = [1, 2, 3]
      _ = try MessageSender(unsafe payload.span.bytes).ancillaryData(outgoing.ancillaryData()).send(
        on: socket)
      var buffer = AncillaryDataBuffer(capacity: 64)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let result = try MessageReceiver(unsafe span.mutableBytes).receive(
        on: socket, ancillary: &data)
      #expect(result.byteCount == 3)
      let mark = try data.controlMessages.first(RoutingMark.self)
      #expect(mark == RoutingMark(7))
    }
  }
}
