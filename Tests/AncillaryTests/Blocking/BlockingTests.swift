// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage
import Testing

extension OpeningDescriptors {
  @Suite struct BlockingTests {
    static func send(
      _ payload: [UInt8], _ descriptors: borrowing OwnedFds, on socket: borrowing OwnedFd
    ) throws -> Int {
      try socket.sendMessage(payload, descriptors: descriptors.span)
    }

    static func receive(_ size: Int, upTo maximum: Int, on socket: borrowing OwnedFd) throws
      -> ReceivedDescriptors
    {
      var memory = [UInt8](repeating: 0, count: size)
      var span = memory.mutableSpan
      return try socket.receiveMessage(into: &span, upTo: maximum)
    }

    static func flagsOfFirst(_ descriptors: borrowing OwnedFds) -> Int32 {
      descriptors.span[0].withUnsafeFileDescriptor { fcntl($0.rawValue, F_GETFD) }
    }

    @Test(arguments: SocketKind.allCases, [1, 2, 3, 252, 253]) func descriptorsArriveInOrder(
      _ kind: SocketKind, _ count: Int
    ) throws {
      var canaries = Canaries(count)
      let expected = OwnedFdsTests.identities(of: canaries.writers)
      do {
        var pair = socketPair(kind)
        let sender = pair.takeFirst()!
        let receiver = pair.takeFirst()!
        #expect(try Self.send([1, 2], canaries.writers, on: sender) == 2)
        let received = try Self.receive(8, upTo: count, on: receiver)
        #expect(received.byteCount == 2)
        #expect(received.surplus == 0)
        #expect(received.flags.subtracting(.endOfRecord).isEmpty)
        #expect(OwnedFdsTests.identities(of: received.descriptors) == expected)
        #expect(Self.flagsOfFirst(received.descriptors) == FD_CLOEXEC)
        canaries.writers.closeAll()
        let held = canaries.released(expecting: 0)
        #expect(held == 0)
      }
      let released = canaries.released(expecting: count)
      #expect(released == count)
    }

    @Test func surplusIsClosedAndCounted() throws {
      var canaries = Canaries(5)
      var pair = socketPair(.seqpacket)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      #expect(try Self.send([1], canaries.writers, on: sender) == 1)
      canaries.writers.closeAll()
      let received = try Self.receive(8, upTo: 2, on: receiver)
      #expect(received.descriptors.count == 2)
      #expect(received.surplus == 3)
      let released = canaries.released(expecting: 3)
      #expect(released == 3)
    }

    @Test(arguments: [1, 3]) func exactlyThrowsForAnotherNumber(_ wanted: Int) throws {
      var canaries = Canaries(2)
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      #expect(try Self.send([1], canaries.writers, on: sender) == 1)
      canaries.writers.closeAll()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      var bytes = unsafe span.mutableBytes
      #expect(throws: AncillaryError(code: .descriptorCount, actual: 2, limit: wanted)) {
        _ = try receiver.receiveMessage(into: &bytes, exactly: wanted)
      }
      let released = canaries.released(expecting: 2)
      #expect(released == 2)
    }

    @Test func oneDescriptorAndExactlyOne() throws {
      var canary = Canary()
      var pair = socketPair(.datagram)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      do {
        let writer = canary.take()
        // An empty datagram carries descriptors as well.
        let sent = try sender.sendMessage(RawSpan(), descriptor: writer)
        #expect(sent == 0)
      }
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      var bytes = unsafe span.mutableBytes
      do {
        let received = try receiver.receiveMessage(into: &bytes, exactly: 1)
        #expect(received.byteCount == 0)
        let held = canary.isHeld()
        #expect(held)
      }
      let released = canary.isReleased()
      #expect(released)
    }

    @Test func emptyStreamPayloadIsRefused() throws {
      let canaries = Canaries(1)
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      #expect(throws: AncillaryError(code: .emptyPayload)) {
        _ = try Self.send([], canaries.writers, on: sender)
      }
      var buffer = AncillaryDataBuffer()
      try buffer.append(descriptors: canaries.writers.span)
      let data = buffer.ancillaryData()
      var failure: Errno?
      do throws(Errno) {
        _ = try sender.sendMessage(GatherBuffers(), ancillary: data, options: [])
      } catch {
        failure = error
      }
      #expect(failure == .invalidArgument)
    }

    @Test func tooManyFailBeforeTheCall() throws {
      let canaries = Canaries(254)
      // Not a socket, so a system call would fail with another error.
      var stranger = Canary()
      let writer = stranger.take()
      #expect(throws: AncillaryError(code: .tooManyDescriptors, actual: 254, limit: 253)) {
        _ = try Self.send([1], canaries.writers, on: writer)
      }
    }

    @Test func goneReceiverIsAnErrorNotASignal() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      do { _ = pair.takeFirst() }
      #expect(throws: AncillaryError.systemCall(.brokenPipe)) {
        _ = try Self.send([1], OwnedFds(), on: sender)
      }
    }

    /// The padding after one descriptor has room for a second; both get an owner.
    @Test(arguments: [
      (0, 0), (1, 0), (15, 0), (16, 0), (17, 0), (20, 1), (23, 1), (24, 2), (28, 3),
    ])
    func smallControlMemory(_ room: Int, _ expected: Int) throws {
      var canaries = Canaries(3)
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      #expect(try Self.send([7], canaries.writers, on: sender) == 1)
      canaries.writers.closeAll()
      var memory = [UInt8](repeating: 0, count: room)
      var payload = [UInt8](repeating: 0, count: 4)
      do {
        var span = memory.mutableSpan
        var data = AncillaryData(unsafe span.mutableBytes)
        var payloadSpan = payload.mutableSpan
        let result = try MessageReceiver(unsafe payloadSpan.mutableBytes).receive(
          on: receiver, ancillary: &data)
        #expect(result.byteCount == 1)
        #expect(result.flags.contains(.controlTruncated) == (expected < 3))
        #expect(data.descriptors.count == expected)
      }
      let released = canaries.released(expecting: 3)
      #expect(released == 3)
    }

    /// Descriptors belong to the first byte of their send; a read on a stream stops after that
    /// send.
    @Test func sequenceOnAStream() throws {
      let canaries = Canaries(2)
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let span = canaries.writers.span
      for (byte, index) in [(UInt8(ascii: "A"), -1), (66, 0), (67, -1), (68, 1), (69, -1)] {
        let payload = [byte]
        _ = try sender.sendMessage(
          unsafe payload.span.bytes,
          descriptors: index < 0 ? Span() : span.extracting(index..<index + 1))
      }
      var outcomes: [[Int]] = []
      for _ in 0..<3 {
        let received = try Self.receive(16, upTo: 253, on: receiver)
        outcomes.append([received.byteCount, received.descriptors.count])
      }
      #expect(outcomes == [[2, 1], [2, 1], [1, 0]])
    }

    @Test func eachPeekInstallsDescriptorsOfItsOwn() throws {
      var canaries = Canaries(1)
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      #expect(try Self.send([1], canaries.writers, on: sender) == 1)
      canaries.writers.closeAll()
      for options in [ReceiveOptions.peek, .peek, []] {
        var memory = [UInt8](repeating: 0, count: 8)
        var span = memory.mutableSpan
        var bytes = unsafe span.mutableBytes
        let received = try receiver.receiveMessage(into: &bytes, upTo: 4, options: options)
        #expect(received.descriptors.count == 1)
      }
      let released = canaries.released(expecting: 1)
      #expect(released == 1)
    }

    /// Ordinary code with arrays, without `unsafe`: sends a descriptor, and receives exactly one.
    @Test func everydayCode() throws {
      var canary = Canary()
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      do {
        let file = canary.take()
        #expect(try sender.sendMessage([1, 2, 3], descriptor: file) == 3)
      }
      do {
        var memory = [UInt8](repeating: 0, count: 16)
        var span = memory.mutableSpan
        let received = try receiver.receiveMessage(into: &span, exactly: 1)
        #expect(received.byteCount == 3)
      }
      let released = canary.isReleased()
      #expect(released)
    }

    @Test func gathersAndScatters() throws {
      var pair = socketPair(.seqpacket)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let payload = (0..<20).map { UInt8($0) }
      // More pieces than fit without an allocation.
      var buffers = GatherBuffers()
      let bytes = unsafe payload.span.bytes
      for index in payload.indices { buffers.append(bytes.extracting(index..<index + 1)) }
      #expect(buffers.count == 20)
      let sent = try MessageSender(buffers: buffers).options(.endOfRecord).send(on: sender)
      #expect(sent == 20)
      var first = [UInt8](repeating: 0, count: 5)
      var second = [UInt8](repeating: 0, count: 30)
      var firstSpan = first.mutableSpan
      var secondSpan = second.mutableSpan
      var room = ScatterBuffers(unsafe firstSpan.mutableBytes)
      room.append(unsafe secondSpan.mutableBytes)
      #expect(room.byteCount == 35)
      let result = try MessageReceiver(buffers: room).receive(on: receiver)
      #expect(result.byteCount == 20)
      #expect(result.flags.isEmpty)
      #expect(first == Array(payload[..<5]))
      #expect(Array(second[..<15]) == Array(payload[5...]))
    }

    @Test func shortBufferIsTruncationWithDescriptors() throws {
      let canaries = Canaries(1)
      var pair = socketPair(.datagram)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      #expect(try Self.send([1, 2, 3, 4], canaries.writers, on: sender) == 4)
      let received = try Self.receive(2, upTo: 1, on: receiver)
      #expect(received.flags.contains(.payloadTruncated))
      #expect(received.descriptors.count == 1)
    }

    @Test func fullSocketDoesNotWait() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let payload = [UInt8](repeating: 1, count: 65536)
      var sent = 0
      #expect(throws: Errno.resourceTemporarilyUnavailable) {
        while true { sent += try MessageSender(payload.span).options(.doNotWait).send(on: sender) }
      }
      #expect(sent > 0)
    }

    @Test func doNotWait() throws {
      var pair = socketPair(.stream)
      let receiver = pair.takeFirst()!
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      #expect(throws: Errno.resourceTemporarilyUnavailable) {
        _ = try MessageReceiver(unsafe span.mutableBytes).options(.doNotWait).receive(on: receiver)
      }
    }
  }
}
