// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  @Suite struct SendingForms {
    @Test(arguments: [2, 8, 9, 1024]) func aMessageIsGatheredFromSeveralBuffers(count: Int)
      async throws
    {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        let bytes = [UInt8]((0..<count).map { UInt8(truncatingIfNeeded: $0) })
        var pieces = GatherBuffers()
        for index in 0..<count { pieces.append(bytes.span.extracting(index..<index + 1).bytes) }
        let descriptors = try OwnedFds.numbered(0..<2)
        try await left.sendMessage(pieces, descriptors: descriptors.span)
        let message = try #require(try await right.receiveMessage())
        #expect(message.payload == bytes)
        #expect(message.descriptorCount == 2)
      }
    }

    /// The kernel reads the bytes in place while the task waits for room.
    @Test func everyKindOfPayloadStaysInPlaceWhileItIsSent() async throws {
      let bytes: [UInt8] = Array("hello".utf8)
      for _ in 0..<10 {
        try await Self.sends(bytes)
        try await Self.sends(bytes[...])
        try await Self.sends(bytes.span)
        try await Self.sends(bytes.span.bytes)
        var pieces = GatherBuffers()
        for index in bytes.indices { pieces.append(bytes.span.extracting(index...index).bytes) }
        try await Self.sends(pieces)
      }
    }

    private static func sends(
      _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable
    ) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        let filler = [UInt8](repeating: 1, count: 4096)
        var count = 0
        while (try? await left.sendMessage(filler, options: .doNotWait)) != nil { count += 1 }
        async let last = {
          for _ in 0..<count { _ = try await right.receiveMessage() }
          return try await right.receiveMessage()
        }()
        let pipe = try Pipe()
        try await left.sendMessage(payload, descriptor: pipe.takeWriter())
        let received = try #require(try await last)
        #expect(received.payload == Array("hello".utf8))
        #expect(received.descriptorCount == 1)
      }
    }

    @Test func tooManyBuffersAreAnError() async throws {
      try await withDescriptorOracle { _ in
        let (left, _) = try UnixSeqpacket.makePair()
        let byte: [UInt8] = [1]
        var pieces = GatherBuffers()
        for _ in 0..<1025 { pieces.append(byte.span.bytes) }
        var code: SocketError.Code?
        do { try await left.sendMessage(pieces) } catch let error as SocketError {
          code = error.code
        }
        #expect(code == .messageTooLarge)
      }
    }

    /// The payload exceeds the socket's buffer: the kernel takes it in parts whose ends are not
    /// those of the pieces.
    @Test func aLongStreamSendOfSeveralBuffersArrivesWhole() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let size = 100_007
        let bytes = (0..<12 * size).map { UInt8(truncatingIfNeeded: $0 / size) }
        async let sent: Void = {
          var pieces = GatherBuffers()
          for part in 0..<12 {
            pieces.append(bytes.span.extracting(part * size..<(part + 1) * size).bytes)
          }
          let descriptor = try OwnedFds.numbered(3..<4)
          try await left.sendMessage(pieces, descriptors: descriptor.span)
          try await left.shutdown(.sending)
        }()
        var received: [UInt8] = []
        var descriptors = 0
        while let message = try await right.receiveMessage() {
          received += message.payload
          descriptors += message.descriptorCount
        }
        try await sent
        #expect(received == bytes)
        #expect(descriptors == 1)
      }
    }

    /// Even if the caller closes its descriptor as soon as the call has begun.
    @Test func descriptorsOfOthersAreDuplicated() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        let owned = try OwnedFd.numbered(7)
        let number = owned.withUnsafeFileDescriptor { $0 }
        try await left.sendMessage([1], descriptors: OwnedFds(duplicating: [number, number]).span)
        let message = try #require(try await right.receiveMessage())
        #expect(message.descriptorCount == 2)
        #expect(try message.takeDescriptor()?.number == 7)
        let error = try #require(
          await errorThrown {
            try await left.sendMessage(
              [1],
              descriptors: OwnedFds(duplicating: [number, FileDescriptor(rawValue: 4000)]).span)
          })
        #expect(error.code == .badDescriptor)
        #expect(error.detail == "descriptor 1")
        #expect(
          await codeThrown {
            try await left.sendMessage(
              [1], descriptors: OwnedFds(duplicating: [FileDescriptor(rawValue: -1)]).span)
          }
            == .badDescriptor)
      }
    }

    /// The kernel looks a descriptor up when it sends, not when it gets the request; by then the
    /// caller's number may be another file's.
    @Test(arguments: TestedSocket.unix) func theOriginalFileArrivesThoughItsNumberWasReused(
      socket: TestedSocket
    ) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try socket.makeUnixPair()
        let full = await codeThrown {
          while true {
            try await left.sendMessage([UInt8](repeating: 0, count: 1000), options: .doNotWait)
          }
        }
        #expect(full == .wouldBlock)
        let number = try OwnedFd.numbered(1).release()
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage([7], descriptors: OwnedFds(duplicating: [number]).span)
        }
        await untilSendsStall(on: loop)
        let other = try OwnedFd.numbered(2)
        other.withUnsafeFileDescriptor {
          #expect(dup2($0.rawValue, number.rawValue) == number.rawValue)
        }
        var found: Int?
        while found == nil { found = try await right.receiveMessage()?.takeDescriptor()?.number }
        #expect(found == 1)
        try await sending.value
        try number.close()
        await left.close()
        await right.close()
      }
    }

    @Test func optionsOfACallAreHeeded() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        // Sends without waiting until the queue is full.
        var sent = 0
        let code = await codeThrown {
          while true {
            try await left.sendMessage([UInt8](repeating: 0, count: 1000), options: .doNotWait)
            sent += 1
          }
        }
        #expect(code == .wouldBlock)
        for _ in 0..<sent {
          #expect(try await right.receiveMessage(options: .doNotWait)?.payload.count == 1000)
        }
        #expect(
          await codeThrown { _ = try await right.receiveMessage(options: .doNotWait) }
            == .wouldBlock)
        // Also where messages are received ahead.
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage([3])
        #expect(try await iterator.next()?.payload == [3])
        #expect(
          await codeThrown { _ = try await right.receiveMessage(options: .doNotWait) }
            == .wouldBlock)
      }
    }

    @Test func fullLengthIsToldOfATruncatedMessage() async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = 1024
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        try await left.sendMessage([UInt8](repeating: 1, count: 5000))
        let message = try #require(try await right.receiveMessage(options: .fullLength))
        #expect(message.payload.count == 1024)
        #expect(message.byteCount == 5000)
        #expect(message.outcome.isPayloadTruncated)
        await left.close()
        await right.close()
      }
    }

    @Test func everyFormGoesToAddresses() async throws {
      try await withDescriptorOracle { _ in
        let (sender, receiver) = (try UnixDatagram(), try UnixDatagram.bind(to: .unused()))
        let address = try #require(try await receiver.localAddress()?.unix)
        let files = try OwnedFds.numbered(4..<5)
        try await sender.sendMessage(
          [1, 2], descriptors: files.span, to: address, deadline: .now + .seconds(60))
        let bytes: [UInt8] = [1, 2]
        var pieces = GatherBuffers(bytes.span.extracting(0..<1).bytes)
        pieces.append(bytes.span.extracting(1..<2).bytes)
        try await sender.sendMessage(pieces, descriptors: files.span, to: address)
        let other = try OwnedFd.numbered(4)
        let number = other.withUnsafeFileDescriptor { $0 }
        try await sender.sendMessage(
          [1, 2], descriptors: OwnedFds(duplicating: [number]).span, to: address)
        for _ in 0..<3 {
          let received = try #require(try await receiver.receiveMessage())
          #expect(received.payload == [1, 2])
          #expect(try received.takeDescriptor()?.number == 4)
        }
        await sender.close()
        await receiver.close()
        // Other sockets send bytes.
        let udp = try UDPSocket.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        let own = try #require(try await udp.localAddress()?.internet)
        try await udp.sendMessage([5], to: own, deadline: .now + .seconds(60))
        #expect(try await udp.receiveMessage()?.payload == [5])
        await udp.close()
      }
    }
  }
}

extension OwnedFds {
  static func numbered(_ numbers: Range<Int>) throws -> OwnedFds {
    var descriptors = OwnedFds()
    for number in numbers { descriptors.append(try .numbered(number)) }
    return descriptors
  }
}
