// SPDX-License-Identifier: Apache-2.0
@testable import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// Multishot receives: messages are never lost, stay in order and within the window, however the
  /// receives end.
  @Suite(.timeLimit(.minutes(1))) struct ReceivingAhead {
    @Test(arguments: TestedSocket.unix) func manyMessagesInOrderThroughASmallWindow(
      socket: TestedSocket
    ) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try socket.makeUnixPair()
        let before = await loop.statistics.multishotEnds
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            for number in 0..<2000 {
              try await left.sendMessage(bytes(of: number), descriptor: try .numbered(number))
            }
            await left.close()
          }
          try await expectNumbers(upTo: 2000, from: right, window: ReceiveWindow(messages: 4)) {
            // The kernel has no room left for sends, so the window has long been full.
            await untilSendsStall(on: loop)
            let ends = await loop.statistics.multishotEnds
            let receivesAhead =
              socket == .unixStream ? TestLoop.receivesStreamsAhead : TestLoop.receivesAhead
            #expect(
              ends > before || !receivesAhead,
              "the window was never full, or the receive was not multishot")
          }
          try await group.waitForAll()
        }
        await right.close()
      }
    }

    /// Stops after the last number, because a datagram socket has no end of its own.
    private func expectNumbers(
      upTo count: Int, from socket: some MessageSocket, window: ReceiveWindow,
      afterTheFirst: () async throws -> Void = {}
    ) async throws {
      var next = 0
      for try await message in socket.messages(window: window) {
        #expect(number(in: message) == next)
        #expect(try message.takeDescriptor()?.number == next)
        next += 1
        if next == 1 { try await afterTheFirst() }
        if next == count { break }
      }
      #expect(next == count)
    }

    @Test func aFastSenderFindsTheWindowFull() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var iterator = right.messages(window: ReceiveWindow(messages: 2)).makeAsyncIterator()
        try await left.sendMessage(bytes(of: 0), descriptor: try .numbered(0))
        _ = try await iterator.next()
        let file = try OwnedFd.numbered(1)
        let openBefore = openDescriptors().count
        let sending = Task(executorPreference: loop.taskExecutor) {
          var sent = 0
          while !Task.isCancelled {
            do {
              try await left.sendMessage(bytes(of: sent), descriptor: file)
            } catch is CancellationError { break }
            sent += 1
          }
          return sent
        }
        await untilSendsStall(on: loop)
        let held = openDescriptors().count - openBefore
        #expect(
          held <= 2 + IOLoop.Configuration().receiveBuffers,
          "\(held) descriptors are open for messages that were not asked for")
        sending.cancel()
        let sent = try await sending.value
        await left.close()
        for expected in 0..<sent {
          #expect(number(in: try #require(try await iterator.next())) == expected)
        }
        #expect(try await iterator.next() == nil)
      }
    }

    @Test(arguments: TestedSocket.unix) func moreMessagesThanBuffersWaitInTheSocket(
      socket: TestedSocket
    ) async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBuffers = 2
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try socket.makeUnixPair(on: loop)
        // The queue of a datagram socket holds about ten messages.
        let count = socket == .unixDatagram ? 10 : 100
        for number in 0..<count {
          try await left.sendMessage(bytes(of: number), descriptor: try .numbered(number))
        }
        try await expectNumbers(upTo: count, from: right, window: ReceiveWindow())
        await left.close()
        await right.close()
      }
    }

    @Test func plainReceivesTakeTheirTurnWithAnIteration() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        for number in 0..<50 { try await left.sendMessage(bytes(of: number)) }
        var iterator = right.messages.makeAsyncIterator()
        for expected in 0..<50 {
          let message =
            expected % 2 == 0 ? try await iterator.next() : try await right.receiveMessage()
          #expect(number(in: try #require(message)) == expected)
        }
      }
    }

    @Test func anIterationThatStartsWhileAReceiveIsPendingComesAfterIt() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let first = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()?.payload
        }
        await untilOperationsArePending(1, on: loop)
        let second = Task(executorPreference: loop.taskExecutor) {
          var iterator = right.messages.makeAsyncIterator()
          return try await iterator.next()?.payload
        }
        await untilTasksWait(2, on: loop)
        try await left.sendMessage([1])
        try await left.sendMessage([2])
        #expect(try await first.value == [1])
        #expect(try await second.value == [2])
      }
    }

    /// The iteration's multishot receive queues behind a pending receive, and never reaches the
    /// kernel.
    @Test func closingWhileAnIterationIsQueued() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        async let first = codeThrown { _ = try await right.receiveMessage() }
        await untilOperationsArePending(1, on: loop)
        async let second = codeThrown { for try await _ in right.messages {} }
        await untilTasksWait(2, on: loop)
        await right.close()
        #expect(await first == .closed)
        #expect(await second == .closed)
        _ = left
        #expect(await loop.operationsInUse == 0)
      }
    }

    /// The multishot receive ends in the queue, before it has begun; the next use of its slot finds
    /// no trace of it.
    @Test func anIterationThatIsQueuedBecomesAReceive() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let small = ReceiveWindow(descriptors: 1)
        let first = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()?.payload
        }
        await untilOperationsArePending(1, on: loop)
        let others = [right.messages, right.messages(window: small), right.messages(window: small)]
          .map { messages in
            Task(executorPreference: loop.taskExecutor) {
              var iterator = messages.makeAsyncIterator()
              return try await iterator.next()?.payload
            }
          }
        await untilTasksWait(4, on: loop)
        for number in 1...4 { try await left.sendMessage([UInt8(number)]) }
        #expect(try await first.value == [1])
        for (number, other) in zip(2...4, others) {
          #expect(try await other.value == [UInt8(number)])
        }
      }
    }

    @Test func aThousandCancelledStepsLoseNothing() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var next = 0
        var cancelled = 0
        for round in 0..<1000 {
          let step = Task(executorPreference: loop.taskExecutor) {
            var iterator = right.messages.makeAsyncIterator()
            return try await iterator.next()
          }
          if round % 3 == 0 { await Task.yield() }
          if round % 4 == 0 { step.cancel() }
          try await left.sendMessage(bytes(of: round), descriptor: try .numbered(round))
          if round % 2 == 0 { step.cancel() }
          do {
            let message = try #require(try await step.value)
            #expect(number(in: message) == next)
            #expect(try message.takeDescriptor()?.number == next)
            next += 1
          } catch is CancellationError { cancelled += 1 }
          // Received before they fill the socket.
          while round % 100 == 99, next <= round {
            let message = try #require(try await right.receiveMessage())
            #expect(number(in: message) == next)
            #expect(try message.takeDescriptor()?.number == next)
            next += 1
          }
        }
        await left.close()
        for try await message in right.messages {
          #expect(number(in: message) == next)
          #expect(try message.takeDescriptor()?.number == next)
          next += 1
        }
        #expect(next == 1000)
        #expect(cancelled > 0)
      }
    }

    @Test func aResetAfterQueuedMessagesIsThrownOnceAfterThem() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([1, 2])
        try await right.sendMessage([3])
        await left.close()
        var seen: [[UInt8]] = []
        let thrown = await codeThrown {
          for try await message in right.messages { seen.append(message.payload) }
        }
        #expect(seen == [[1, 2]])
        #expect(thrown == .connectionReset)
      }
    }

    @Test func aSocketDroppedWithMessagesReceivedAheadClosesTheirDescriptors() async throws {
      try await withDescriptorOracle { loop in
        let pipe = try Pipe()
        let writer = pipe.takeWriter()
        do {
          let (left, right) = try UnixSeqpacket.makePair()
          for _ in 0..<10 { try await left.sendMessage([1], descriptor: writer) }
          var iterator = right.messages.makeAsyncIterator()
          _ = try await iterator.next()
        }
        _ = consume writer
        while await loop.operationsInKernel > 0 {}
        #expect(pipe.isAtEnd)
      }
    }

    @Test func shutdownOfALoopWithMessagesReceivedAhead() async throws {
      try await withOwnLoop { loop in
        let pipe = try Pipe()
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        let writer = pipe.takeWriter()
        for _ in 0..<10 { try await left.sendMessage([1], descriptor: writer) }
        var iterator = right.messages.makeAsyncIterator()
        _ = try await iterator.next()
        await loop.shutdown()
        #expect(await codeThrown { for try await _ in right.messages {} } == .loopShutDown)
        await left.close()
        await right.close()
        _ = consume writer
        #expect(pipe.isAtEnd)
      }
    }

    /// Later messages from the peer wait in the kernel, and none of their descriptors is surplus.
    @Test func aLimitOfHeldDescriptorsEndsReceivingAhead() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage(bytes(of: 0))
        #expect(number(in: try #require(try await iterator.next())) == 0)
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsHeld: 4))
        for number in 1...10 {
          try await left.sendMessage(bytes(of: number), descriptor: try .numbered(number))
        }
        for expected in 1...10 {
          let message = try #require(try await iterator.next())
          #expect(number(in: message) == expected)
          #expect(message.outcome == .complete)
          #expect(try message.takeDescriptor()?.number == expected)
        }
      }
    }

    @Test func aWindowForFewDescriptorsEndsReceivingAhead() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage(bytes(of: 0))
        _ = try await iterator.next()
        var small = right.messages(window: ReceiveWindow(messages: 4, descriptors: 4))
          .makeAsyncIterator()
        try await left.sendMessage(bytes(of: 1), descriptor: try .numbered(1))
        #expect(number(in: try #require(try await small.next())) == 1)
        let before = await loop.statistics.descriptorsReceived
        for number in 2...20 {
          try await left.sendMessage(bytes(of: number), descriptor: try .numbered(number))
        }
        #expect(await loop.statistics.descriptorsReceived == before)
        for expected in 2...20 {
          let message = try #require(try await small.next())
          #expect(number(in: message) == expected)
          #expect(try message.takeDescriptor()?.number == expected)
          #expect(await loop.statistics.descriptorsReceived == before + UInt64(expected) - 1)
        }
      }
    }

    /// Tasks that wait for prefetched messages continue to wait in order, each for a message of its
    /// own.
    @Test func whoWaitsWhenReceivingAheadEndsIsServed() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let iteration = Task(executorPreference: loop.taskExecutor) {
          var iterator = right.messages.makeAsyncIterator()
          return try await iterator.next()?.payload
        }
        await untilOperationsArePending(1, on: loop)
        let cancelled = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()
        }
        let late = Task(executorPreference: loop.taskExecutor) {
          await codeThrown {
            _ = try await right.receiveMessage(deadline: .now + .milliseconds(20))
          }
        }
        let piece = Task(executorPreference: loop.taskExecutor) {
          try await receiveBytes(upTo: 2, from: right)
        }
        let peek = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage(options: .peek)?.payload
        }
        // After the jobs of all of them.
        for _ in 0..<10 { await Task.yield() }
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsHeld: 4))
        #expect(await late.value == .deadlineExceeded)
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { _ = try await cancelled.value }
        try await left.sendMessage([1])
        #expect(try await iteration.value == [1])
        try await left.sendMessage([2, 3, 4])
        #expect(try await piece.value == [2, 3])
        #expect(try await peek.value == [4])
        #expect(try await right.receiveMessage()?.payload == [4])
      }
    }

    private func bytes(of number: Int) -> [UInt8] { withUnsafeBytes(of: number) { Array($0) } }

    private func number(in message: ReceivedMessage) -> Int {
      message.payload.withUnsafeBytes { $0.loadUnaligned(as: Int.self) }
    }

    /// This applies even if the window has room for more messages.
    @Test(.enabled(if: TestLoop.receivesAhead, "nothing is received ahead"))
    func descriptorsFillTheWindowToo() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let before = openDescriptors().count
        var iterator = right.messages(window: ReceiveWindow(messages: 1000, descriptors: 253))
          .makeAsyncIterator()
        let count = 60
        var received = 0
        do {
          var descriptors = OwnedFds()
          for _ in 0..<15 { descriptors.append(try .numbered(0)) }
          for number in 0..<count {
            try await left.sendMessage([1], descriptors: descriptors.span)
            if number == 0 { received += try #require(try await iterator.next()).descriptorCount }
            // A turn, in which the message is received.
            for _ in 0..<3 { await Task.yield() }
          }
        }
        let held = openDescriptors().count - before - 2
        #expect(held >= 253, "nothing was received ahead: the test proves nothing")
        // The message that filled the window, and those that came before the kernel saw the
        // cancellation.
        #expect(held < 253 + 15 + 10 * 15)
        for _ in 1..<count { received += try #require(try await iterator.next()).descriptorCount }
        #expect(received == count * 15)
        await left.close()
        await right.close()
      }
    }

    /// The socket was not closed, and no task can receive from it.
    @Test func aDroppedSocketEndsItsReceive() async throws {
      try await withDescriptorOracle { loop in
        let left = try await peerOfADroppedSocket(on: loop)
        #expect(try await left.receiveMessage() == nil)
        await left.close()
      }
    }

    private func peerOfADroppedSocket(on loop: IOLoop) async throws -> UnixSeqpacket {
      let (left, right) = try UnixSeqpacket.makePair()
      try await left.sendMessage([1])
      for try await _ in right.messages { break }
      if TestLoop.receivesAhead { await untilOperationsArePending(1, on: loop) }
      return left
    }

    /// A try leaves an error to the next receive; one that waits behind the try gets it.
    @Test(.enabled(if: TestLoop.receivesStreamsAhead, "nothing is received ahead"))
    func whoWaitsBehindATryGetsItsError() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        // Closed with unread data, which causes a reset that the kernel reports once.
        try await right.sendMessage([1])
        await left.close()
        let trying = Task(executorPreference: loop.taskExecutor) {
          if let _ = await right.channel.receiveIfThere() { true } else { false }
        }
        let waiting = Task(executorPreference: loop.taskExecutor) {
          await codeThrown {
            var iterator = right.messages.makeAsyncIterator()
            _ = try await iterator.next()
          }
        }
        #expect(await !trying.value)
        #expect(await waiting.value == .connectionReset)
        await right.close()
      }
    }
  }
}
