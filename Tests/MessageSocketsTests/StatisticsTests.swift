// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import SocketEngine

/// The statistics of a loop: each number in a situation in which it is known.
extension KernelTests {
  @Suite struct StatisticsTests {
    @Test func descriptorsAreReceivedClaimedRefusedOrClosed() async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        for number in 0..<4 {
          var descriptors = OwnedFds()
          for index in 0..<3 { descriptors.append(try .numbered(number * 3 + index)) }
          try await left.sendMessage([UInt8(number)], descriptors: descriptors.span)
        }
        // One is taken and the rest closes with the message; all are taken, and a second call gets
        // none; received into the caller's memory; surplus.
        do {
          let message = try await right.receiveMessage()
          _ = message?.takeDescriptor()
        }
        let whole = try #require(try await right.receiveMessage())
        #expect(takenCount(whole) == 3)
        #expect(takenCount(whole) == 0)
        let more = whole.takeDescriptor() != nil
        #expect(!more)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 1)
        defer { memory.deallocate() }
        var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
        _ = try await right.receiveMessage(into: &payload)
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
        let admitted = try #require(try await right.receiveMessage())
        #expect(takenCount(admitted) == 1)

        let statistics = await loop.statistics
        #expect(statistics.descriptorsReceived == 12)
        #expect(statistics.descriptorsTaken == 1 + 3 + 3 + 1)
        #expect(statistics.descriptorsRefused == 2)
        #expect(statistics.messagesSent == 4)
        #expect(statistics.messagesReceived == 4)
        #expect(statistics.bytesSent == 4)
        #expect(statistics.bytesReceived == 4)
        await left.close()
        await right.close()
      }
    }

    /// However a socket ends: closed, twice, given away, dropped, refused a release.
    @Test func openSocketsAreCountedUntilTheyEnd() async throws {
      try await withOwnLoop { loop in
        func expectOpen(
          _ count: Int, at location: SourceLocation = #_sourceLocation
        ) async {
          // A socket that was dropped ends in a later turn.
          while await loop.statistics.openSockets > count { await Task.yield() }
          #expect(await loop.statistics.openSockets == count, sourceLocation: location)
        }
        await expectOpen(0)
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        #expect(await loop.statistics.openSockets == 2)
        await left.close()
        await left.close()
        await expectOpen(1)
        let descriptor = try await right.release()
        await #expect(throws: SocketError.self) { _ = try await right.release() }
        await expectOpen(0)
        let again = try UnixSeqpacket(adopting: descriptor, on: loop)
        #expect(await loop.statistics.openSockets == 1)
        await again.close()
        do { _ = try UnixStream.makePair(on: loop) }
        await expectOpen(0)
        let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0), on: loop)
        let address = try #require(try await listener.localAddress()?.internet)
        let client = try await TCPStream.connect(to: address, on: loop)
        let accepted = try await listener.accept()
        #expect(await loop.statistics.openSockets == 3)
        for socket in [client, accepted] { await socket.close() }
        await listener.close()
        await expectOpen(0)
      }
    }

    @Test func longTurnsAreTimed() async throws {
      try await withOwnLoop { loop in
        let before = await loop.statistics
        await loop.run {
          let end = ContinuousClock.now + .milliseconds(60)
          while ContinuousClock.now < end {}
        }
        let after = await loop.statistics
        #expect(after.longTurns > before.longTurns)
        // The clock counts in steps of up to 10 ms.
        #expect(after.longTurnTime - before.longTurnTime >= .milliseconds(40))
      }
    }

    /// If nothing is received in between, sends bypass the ring until the socket is full. Then, and
    /// behind other waiting sends, they go through the ring, in order.
    @Test(arguments: [TestedSocket.unixStream, .unixSeqpacket])
    func sendsInARowShareTheTurn(socket: TestedSocket) async throws {
      let isOnRing = TestLoop.isOnRing
      try await withOwnLoop { loop in
        let (left, right) = try socket.makeUnixPair(on: loop)
        try await left.setOption(.sendBufferSize, to: 16 << 10)
        try await withThrowingTaskGroup { group in
          for sender in 0..<2 {
            group.addTask(executorPreference: loop.taskExecutor) {
              for number in 0..<200 {
                try await left.sendMessage(
                  [UInt8](repeating: UInt8(number), count: 500),
                  descriptor: try .numbered(number))
                if sender == 1 { await Task.yield() }
              }
            }
          }
          group.addTask(executorPreference: loop.taskExecutor) {
            var counts = [Int](repeating: 0, count: 200)
            for _ in 0..<400 {
              let message = try #require(try await right.receiveMessage())
              #expect(message.payload.count == 500)
              counts[Int(message.payload[0])] += 1
              let file = try message.requireDescriptor()
              #expect(try file.number == Int(message.payload[0]))
            }
            #expect(counts.allSatisfy { $0 == 2 })
          }
          try await group.waitForAll()
        }
        let enters = try await loop.run {
          let before = await loop.statistics.enters
          for number in 0..<16 { try await left.sendMessage([UInt8(number)]) }
          return await loop.statistics.enters - before
        }
        #expect(await loop.statistics.messagesSent == 416)
        if isOnRing { #expect(enters < 4) }
        var received: [UInt8] = []
        while received.count < 16 { received += try await right.receiveMessage()?.payload ?? [] }
        #expect(received == [UInt8](0..<16))
        await left.close()
        await #expect(throws: SocketError.self) { try await right.sendMessage([1]) }
        await right.close()
      }
    }

    final class Order: Sendable { let senders = Mutex<[Int]>([]) }

    /// No sender is passed over while the others send.
    @Test func severalSendersTakeTurns() async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        try await left.setOption(.sendBufferSize, to: 1 << 20)
        let order = Order()
        // They begin together: none runs before the loop has all of them.
        try await loop.run {
          try await withThrowingTaskGroup { group in
            for sender in 0..<4 {
              group.addTask(executorPreference: loop.taskExecutor) {
                for _ in 0..<60 {
                  try await left.sendMessage([UInt8(sender)])
                  order.senders.withLock { $0.append(sender) }
                }
              }
            }
            try await group.waitForAll()
          }
        }
        // Counted once every sender has sent: each has nearly its share, which is 20.
        let sent = order.senders.withLock { $0 }
        let start = try #require((0..<4).compactMap { sent.firstIndex(of: $0) }.max())
        for sender in 0..<4 {
          #expect(sent[start..<start + 80].count { $0 == sender } >= 15, "\(sent)")
        }
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: [false, true]) func anEndIsNoMessage(receivesAhead: Bool) async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixStream.makePair(on: loop)
        try await left.sendMessage([1])
        let reception = Reception(socket: .unixStream, isAhead: receivesAhead)
        #expect(try await reception.next(from: right)?.payload == [1])
        await left.close()
        #expect(try await reception.next(from: right) == nil)
        #expect(await loop.statistics.messagesReceived == 1)
        await right.close()
      }
    }

    /// The message is received ahead completely, and truncated for the caller's memory under a
    /// policy that does not allow it.
    @Test(.enabled(if: TestLoop.receivesAhead, "nothing is received ahead"))
    func aCutMessagesDescriptorIsTheErrors() async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        var policy = ReceivePolicy()
        policy.onPayloadTruncation = .throwError
        try await right.setReceivePolicy(policy)
        try await left.sendMessage([1])
        try await left.sendMessage([1, 2, 3], descriptor: try .numbered(1))
        for try await _ in right.messages { break }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 2, alignment: 1)
        defer { memory.deallocate() }
        var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
        do {
          _ = try await right.receiveMessage(into: &payload)
          Issue.record("a cut message was admitted")
        } catch let error as SocketError {
          #expect(error.code == .messageIncomplete)
          let isThere = error.message?.takeDescriptor() != nil
          #expect(isThere)
        }
        let statistics = await loop.statistics
        #expect(statistics.descriptorsReceived == 1)
        #expect(statistics.descriptorsRefused == 0)
        #expect(statistics.descriptorsTaken == 1)
        await left.close()
        await right.close()
      }
    }

    @Test func cancellationsByOutcome() async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixStream.makePair(on: loop)
        // The second receive waits for its turn.
        let first = Task(executorPreference: loop.taskExecutor) { try await right.receiveMessage() }
        await untilOperationsArePending(1, on: loop)
        let second = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()
        }
        await loop.run { await untilTasksWait(2, on: loop) }
        second.cancel()
        _ = await second.result
        #expect(await outcomes(of: loop) == Outcomes(stoppedBeforeSubmission: 1))
        first.cancel()
        _ = await first.result
        #expect(await outcomes(of: loop) == Outcomes(cancelled: 1, stoppedBeforeSubmission: 1))

        let send = Task(executorPreference: loop.taskExecutor) { () async -> Int in
          do {
            try await left.sendMessage([UInt8](repeating: 0, count: 10 << 20))
            return 0
          } catch { return (error as? SocketError)?.bytesSent ?? 0 }
        }
        await untilSendsStall(on: loop)
        send.cancel()
        let sent = await send.value
        #expect(sent > 0)
        #expect(await loop.statistics.bytesSent == UInt64(sent))
        #expect(
          await outcomes(of: loop)
            == Outcomes(cancelled: 1, stoppedPartWay: 1, stoppedBeforeSubmission: 1))

        let sleep = Task(executorPreference: loop.taskExecutor) {
          try await loop.sleep(for: .seconds(1000))
        }
        await loop.run { await untilTasksWait(1, on: loop) }
        sleep.cancel()
        _ = await sleep.result
        #expect(
          await outcomes(of: loop)
            == Outcomes(cancelled: 2, stoppedPartWay: 1, stoppedBeforeSubmission: 1))
        await left.close()
        await right.close()
      }
    }

    /// Each receive ends in one of three ways, and a received message was not cancelled.
    @Test func cancellationsThatRaceMessagesAddUp() async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        var received = 0
        for number in 0..<300 {
          let receive = Task(executorPreference: loop.taskExecutor) {
            try await right.receiveMessage()
          }
          await untilOperationsArePending(1, on: loop)
          async let sent: Void = left.sendMessage([1])
          for _ in 0..<number % 5 { await Task.yield() }
          receive.cancel()
          try await sent
          if case .success = await receive.result {
            received += 1
          } else {
            _ = try await right.receiveMessage()
          }
        }
        let statistics = await loop.statistics
        #expect(
          statistics.cancellations == statistics.cancelled + statistics.stoppedPartWay
            + statistics.wonAgainstCancellation)
        #expect(statistics.cancelled == UInt64(300 - received))
        #expect(statistics.messagesReceived == 300)
        await left.close()
        await right.close()
      }
    }

    @Test func multishotReceives() async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        for number in 0..<4 as Range<UInt8> { try await left.sendMessage([number]) }
        var iterator = right.messages(window: ReceiveWindow(messages: 2)).makeAsyncIterator()
        for number in 0..<4 as Range<UInt8> {
          #expect(try await iterator.next()?.payload == [number])
        }
        await left.close()
        #expect(try await iterator.next() == nil)
        await right.close()
        let statistics = await loop.statistics
        #expect(statistics.multishotEnds == statistics.multishotStarts)
        #expect((statistics.multishotStarts > 0) == TestLoop.receivesAhead)
        // Four messages do not fit into the window, so the first receive was stopped; the last one
        // has found the end.
        #expect((statistics.multishotStops > 0) == TestLoop.receivesAhead)
        #expect(statistics.multishotStops < max(1, statistics.multishotEnds))
      }
    }

    private func takenCount(_ message: ReceivedMessage) -> Int {
      let descriptors = message.takeDescriptors()
      return descriptors.count
    }

    private struct Outcomes: Equatable {
      var cancelled: UInt64 = 0
      var stoppedPartWay: UInt64 = 0
      var wonAgainstCancellation: UInt64 = 0
      var stoppedBeforeSubmission: UInt64 = 0
    }

    private func outcomes(of loop: IOLoop) async -> Outcomes {
      let now = await loop.statistics
      #expect(now.cancellations == now.cancelled + now.stoppedPartWay + now.wonAgainstCancellation)
      return Outcomes(
        cancelled: now.cancelled, stoppedPartWay: now.stoppedPartWay,
        wonAgainstCancellation: now.wonAgainstCancellation,
        stoppedBeforeSubmission: now.stoppedBeforeSubmission)
    }
  }
}
