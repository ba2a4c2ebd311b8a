// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// An incomplete message is thrown, with everything that arrived.
  @Suite struct MessageLoss {
    private static let kinds = [TestedSocket.unixSeqpacket, .unixDatagram]

    private func withSmallBuffers(_ body: (IOLoop) async throws -> Void) async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = 10
      try await withOwnLoop(configuration) { loop in try await loop.run { try await body(loop) } }
    }

    @Test(arguments: kinds, ReceivingForm.allCases)
    func aCutMessageIsThrownAndTheNextIsThere(socket: TestedSocket, form: ReceivingForm)
      async throws
    {
      try await withSmallBuffers { loop in
        let (left, right) = try socket.makeUnixPair(on: loop)
        for round in 0..<3 {
          let long = [UInt8](repeating: UInt8(round), count: 70_000)
          try await left.sendMessage([1], descriptor: try .numbered(1))
          try await left.sendMessage(long, descriptor: try .numbered(2))
          try await left.sendMessage([3], descriptor: try .numbered(3))
          var seen: [Observation] = []
          while seen.count < 3 { seen += await form.observe(right, room: 10) }
          let cut = Observation.Seen(
            bytes: Array(long.prefix(10)), files: [2], fullLength: 70_000, isThrown: true)
          #expect(seen[0] == .message(Observation.Seen(bytes: [1], files: [1])))
          #expect(seen[1] == .message(cut))
          #expect(seen[2] == .message(Observation.Seen(bytes: [3], files: [3])))
        }
        await left.close()
        await right.close()
      }
    }

    @Test func theErrorSaysWhatIsMissingAndOwnsWhatIsThere() async throws {
      try await withSmallBuffers { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        let pipe = try Pipe()
        try await left.sendMessage([UInt8](repeating: 1, count: 20), descriptor: pipe.takeWriter())
        do {
          var error = try #require(await errorThrown { _ = try await right.receiveMessage() })
          #expect(error.code == .messageIncomplete)
          #expect(error.outcome?.fullLength == 20)
          #expect(error.socket != nil)
          #expect(error.description.contains("20 bytes"), "\(error)")
          #expect(error.message?.payload.count == 10)
          #expect(error.message?.descriptorCount == 1)
          #expect(!pipe.isAtEnd)
          error = SocketError(.closed, .receive)
          #expect(error.message == nil)
        }
        #expect(pipe.isAtEnd)
        await left.close()
        await right.close()
      }
    }

    /// An iteration ends with the error, and a new one continues; a batch stops before the error.
    @Test func anIterationEndsAndABatchStopsInFront() async throws {
      try await withSmallBuffers { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        for size in [1, 2, 30, 3] { try await left.sendMessage([UInt8](repeating: 7, count: size)) }
        await left.close()
        #expect(try await right.receiveMessages(upTo: 9).map(\.payload.count) == [1, 2])
        var iterator = right.messages.makeAsyncIterator()
        do {
          _ = try await iterator.next()
          Issue.record("a loss was not thrown")
        } catch let error as SocketError { #expect(error.outcome?.fullLength == 30) }
        #expect(try await iterator.next() == nil)
        var sizes: [Int] = []
        for try await message in right.messages { sizes.append(message.payload.count) }
        #expect(sizes == [3])
        await right.close()
      }
    }

    /// A peek loses nothing, and a receive with `fullLength` reports the length.
    @Test(arguments: [false, true])
    func whatIsNoLoss(receivesAhead: Bool) async throws {
      try await withSmallBuffers { loop in
        let (left, right) = try UnixDatagram.makePair(on: loop)
        if receivesAhead {
          var iterator = right.messages.makeAsyncIterator()
          try await left.sendMessage([0])
          #expect(try await iterator.next()?.payload == [0])
        }
        try await left.sendMessage([UInt8](repeating: 1, count: 20))
        let copy = try #require(try await right.receiveMessage(options: .peek))
        #expect(copy.outcome.fullLength == 20)
        #expect(copy.byteCount == 10)
        let message = try #require(try await right.receiveMessage(options: .fullLength))
        #expect(message.byteCount == 20)
        #expect(message.payload.count == 10)
        await left.close()
        await right.close()
      }
    }

    /// The caller's memory has room for only part of a prefetched message.
    @Test(arguments: [false, true])
    func aMessageThatTheCallersMemoryCuts(receivesAhead: Bool) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        if receivesAhead {
          var iterator = right.messages.makeAsyncIterator()
          try await left.sendMessage([0])
          #expect(try await iterator.next()?.payload == [0])
        }
        try await left.sendMessage([1, 2, 3, 4, 5], descriptor: try .numbered(5))
        let seen = await ReceivingForm.span.observe(right, room: 3)
        let cut = Observation.Seen(bytes: [1, 2, 3], files: [5], fullLength: 5, isThrown: true)
        #expect(seen == [.message(cut)])
      }
    }

    @Test(arguments: ReceivingForm.allCases)
    func aRelayIsGivenWhatThereIs(form: ReceivingForm) async throws {
      try await withSmallBuffers { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        try await right.setReceivePolicy(.reportingLoss)
        try await left.sendMessage([UInt8](repeating: 1, count: 20))
        let cut = Observation.Seen(bytes: [UInt8](repeating: 1, count: 10), fullLength: 20)
        #expect(await form.observe(right, room: 10) == [.message(cut)])
        await left.close()
        await right.close()
      }
    }

    /// Descriptors for which this process had no room; on a stream too.
    @Test(arguments: TestedSocket.unix, [false, true])
    func missingDescriptorsAreThrown(socket: TestedSocket, receivesAhead: Bool) async throws {
      var configuration = IOLoop.Configuration()
      configuration.controlBufferSize = 256
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try socket.makeUnixPair(on: loop)
        let reception = Reception(socket: socket, isAhead: receivesAhead)
        let pipe = try Pipe()
        do {
          let writer = pipe.takeWriter()
          var many = OwnedFds()
          for _ in 0..<253 { many.append(try writer.duplicate()) }
          try await left.sendMessage([1, 2], descriptors: many.span)
        }
        try await left.sendMessage([3])
        let error = await errorThrown { _ = try await reception.next(from: right) }
        #expect(error?.code == .messageIncomplete)
        #expect(error?.outcome?.controlTruncation == .bufferFull)
        #expect(error?.message?.payload.prefix(2) == [1, 2])
        #expect(error?.message?.descriptorCount == 60)
        _ = error?.message?.takeDescriptors()
        #expect(pipe.isAtEnd)
        #expect(try await reception.next(from: right)?.payload == [3])
        await left.close()
        await right.close()
      }
    }
  }
}
