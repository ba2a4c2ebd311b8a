import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  @Suite struct RoundTrip {
    @Test(arguments: [0, 1, 2, 3, 4, 5, 252, 253])
    func descriptorsArriveInOrderOnAStream(count: Int) async throws { try await roundTrip(UnixStream.self, count: count) }

    @Test(arguments: [0, 1, 2, 3, 4, 5, 252, 253])
    func descriptorsArriveInOrderOnSeqpacket(count: Int) async throws { try await roundTrip(UnixSeqpacket.self, count: count) }

    private func roundTrip<Socket: UnixConnection>(_: Socket.Type, count: Int) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try Socket.makePair()
        var sent = OwnedFds()
        for number in 0..<count { sent.append(try .numbered(number)) }
        try await left.sendMessage(Array("payload".utf8), descriptors: sent.span)

        let message = try #require(try await right.receiveMessage())
        #expect(message.payload == Array("payload".utf8))
        #expect(message.descriptorCount == count)
        #expect(message.outcome == .complete)
        var received = message.takeDescriptors()
        for number in 0..<count {
          let descriptor = received.takeFirst()!
          #expect(try descriptor.number == number)
          let isCloseOnExec = descriptor.isCloseOnExec
          #expect(isCloseOnExec)
        }
        let untaken = received.count + message.takeDescriptors().count
        #expect(untaken == 0)
      }
    }

    @Test func openFilesKeepTheirIdentity() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        for path in ["/proc/self/exe", "/", "/dev/null"] {
          let file = try OwnedFd.openFile(path)
          try await left.sendMessage([1], descriptor: file)
          let message = try #require(try await right.receiveMessage())
          #expect(message.takeDescriptor()?.identity == file.identity)
        }
      }
    }

    @Test func aDroppedMessageClosesItsDescriptors() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let pipe = try Pipe()
        try await left.sendMessage([1], descriptor: pipe.takeWriter())
        do {
          let message = try await right.receiveMessage()
          #expect(message?.descriptorCount == 1)
          #expect(!pipe.isAtEnd)
        }
        #expect(pipe.isAtEnd)
      }
    }

    @Test func aSocketDroppedWithUnreadDescriptorsClosesThem() async throws {
      try await withDescriptorOracle { _ in
        let pipe = try Pipe()
        do {
          let (left, right) = try UnixStream.makePair()
          try await left.sendMessage([1], descriptor: pipe.takeWriter())
          #expect(!pipe.isAtEnd)
          _ = right
        }
        #expect(pipe.isAtEnd)
      }
    }

    @Test func aSenderThatClosedStillDelivers() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let file = try OwnedFd.numbered(42)
        try await left.sendMessage([1], descriptor: file)
        await left.close()
        let message = try #require(try await right.receiveMessage())
        #expect(try message.takeDescriptor()?.number == 42)
        let end = try await right.receiveMessage()
        #expect(end == nil)
      }
    }

    @Test func descriptorsStandWhereTheyWereSentInAStream() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let file = try OwnedFd.numbered(0)
        try await left.sendMessage(Array("A".utf8))
        try await left.sendMessage(Array("B".utf8), descriptor: file)
        try await left.sendMessage(Array("C".utf8))
        try await left.sendMessage(Array("D".utf8), descriptor: file)
        try await left.sendMessage(Array("E".utf8))
        await left.close()
        var seen: [String] = []
        for try await message in right.messages {
          seen.append("\(String(decoding: message.payload, as: UTF8.self))\(message.descriptorCount)")
        }
        #expect(seen == ["AB1", "CD1", "E0"])
      }
    }

    @Test func tenMegabytesWithADescriptorArriveWholeAndTheDescriptorOnce() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let size = 10 << 20
        let file = try OwnedFd.numbered(7)
        let copy = try file.duplicate()
        async let sent: Void = left.sendMessage((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }, descriptor: copy)
        var position = 0
        var descriptors = 0
        while position < size {
          let message = try #require(try await right.receiveMessage())
          descriptors += message.descriptorCount
          for byte in message.payload {
            if byte != UInt8(truncatingIfNeeded: position &* 31) { Issue.record("byte \(position) differs") }
            position += 1
          }
        }
        try await sent
        #expect(position == size)
        #expect(descriptors == 1)
      }
    }

    @Test func emptySeqpacketMessagesCarryDescriptors() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        try await left.sendMessage([], descriptor: try .numbered(1))
        let message = try #require(try await right.receiveMessage())
        #expect(message.payload == [])
        #expect(message.descriptorCount == 1)
      }
    }

    @Test func seqpacketKeepsBoundaries() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        for length in 1...20 { try await left.sendMessage([UInt8](repeating: UInt8(length), count: length)) }
        for length in 1...20 { #expect(try await right.receiveMessage()?.payload.count == length) }
      }
    }

    @Test func aSeqpacketMessageLongerThanTheBufferIsTruncatedAndSaysSo() async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = 1024
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        for receivesAhead in [false, true] {
          try await left.sendMessage([UInt8](repeating: 1, count: 2000), descriptor: try .numbered(3))
          var iterator = right.messages.makeAsyncIterator()
          let message = try #require(receivesAhead ? try await iterator.next() : try await right.receiveMessage())
          // Shared buffers are rounded up to cache lines.
          #expect((1024..<1024 + 192).contains(message.payload.count))
          #expect(message.outcome.isPayloadTruncated)
          #expect(!message.outcome.isControlTruncated)
          #expect(message.descriptorCount == 1)
        }
      }
    }
  }
}
