import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// Contract: cancellation loses nothing. A cancelled receive returns the message that won, or leaves it for the next receive.
  @Suite struct Cancellation {
    @Test func aReceiveCancelledBeforeDataLeavesTheMessageForTheNext() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let receiving = Task(executorPreference: loop.taskExecutor) { try await right.receiveMessage() }
        await untilOperationsArePending(1, on: loop)
        receiving.cancel()
        await #expect(throws: CancellationError.self) { try await receiving.value }
        try await left.sendMessage([9], descriptor: try .numbered(9))
        let message = try #require(try await right.receiveMessage())
        #expect(message.payload == [9])
        #expect(try message.takeDescriptor()?.number == 9)
      }
    }

    @Test func anAlreadyCancelledTaskTakesNothing() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([1])
        let task = Task(executorPreference: loop.taskExecutor) {
          withUnsafeCurrentTask { $0?.cancel() }
          return try await right.receiveMessage()
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        let sending = Task(executorPreference: loop.taskExecutor) {
          withUnsafeCurrentTask { $0?.cancel() }
          try await left.sendMessage([2])
        }
        await #expect(throws: CancellationError.self) { try await sending.value }
        #expect(try await right.receiveMessage()?.payload == [1])
      }
    }

    /// The descriptor is queued, then the receive is cancelled while it may or may not have won: each descriptor is delivered exactly once, in order.
    @Test(arguments: [true, false])
    func aThousandCancellationsThatRaceAQueuedDescriptor(onTheLoop: Bool) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var next = 0
        var won = 0
        func take(_ message: ReceivedMessage?) throws {
          let message = try #require(message)
          #expect(message.payload == [UInt8(truncatingIfNeeded: next)])
          #expect(try message.takeDescriptor()?.number == next)
          next += 1
        }
        for number in 0..<1000 {
          let receiving =
            onTheLoop
            ? Task(executorPreference: loop.taskExecutor) { try await right.receiveMessage() } : Task { try await right.receiveMessage() }
          if number % 3 == 0 { await untilOperationsArePending(1, on: loop) }
          if number % 5 == 0 { receiving.cancel() }
          try await left.sendMessage([UInt8(truncatingIfNeeded: number)], descriptor: try .numbered(number))
          if number % 7 == 0 { await Task.yield() }
          receiving.cancel()
          receiving.cancel()
          do {
            try take(try await receiving.value)
            won += 1
          } catch is CancellationError {
            try take(try await right.receiveMessage())
          }
        }
        #expect(next == 1000)
        #expect(won > 0 && won < 1000, "the race went one way only: \(won) of 1000")
      }
    }

    @Test func aReceiveCancelledInTheQueueLetsTheOthersPass() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let executor = loop.taskExecutor
        let first = Task(executorPreference: executor) { try await right.receiveMessage()?.payload }
        await untilOperationsArePending(1, on: loop)
        let second = Task(executorPreference: executor) { try await right.receiveMessage()?.payload }
        let third = Task(executorPreference: executor) { try await right.receiveMessage()?.payload }
        await Task.yield()
        second.cancel()
        await #expect(throws: CancellationError.self) { try await second.value }
        try await left.sendMessage([1])
        try await left.sendMessage([2])
        #expect(try await first.value == [1])
        #expect(try await third.value == [2])
      }
    }

    @Test func aSendThatWaitsInTheKernelIsSentWholeOrNotAtAll() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        // Fill the queue, until a send waits.
        let filling = Task(executorPreference: loop.taskExecutor) {
          var count = 0
          while true {
            do {
              try await left.sendMessage(
                [UInt8](repeating: UInt8(truncatingIfNeeded: count), count: 1000), descriptor: try .numbered(count))
            } catch is CancellationError { return count }
            count += 1
          }
        }
        await untilSendsStall(on: loop)
        filling.cancel()
        let sent = try await filling.value
        #expect(sent > 1)
        await left.close()
        var received = 0
        for try await message in right.messages {
          #expect(message.payload.first == UInt8(truncatingIfNeeded: received))
          #expect(try message.takeDescriptor()?.number == received)
          received += 1
        }
        #expect(received == sent)
      }
    }

    @Test func aStreamSendCancelledMidwaySaysHowFarItGot() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage([UInt8](repeating: 5, count: 8 << 20), descriptor: try .numbered(1))
        }
        await untilSendsStall(on: loop)
        sending.cancel()
        let error = await #expect(throws: SocketError.self) { try await sending.value }
        #expect(error?.code == .partialSend)
        let count = try #require(error?.bytesSent)
        #expect(count > 0 && count < 8 << 20)
        await left.close()
        var received = 0
        var descriptors = 0
        for try await message in right.messages {
          received += message.payload.count
          descriptors += message.descriptorCount
        }
        #expect(received == count)
        #expect(descriptors == 1)
      }
    }

    @Test func leavingAnIterationLosesNothing() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        for number in 0..<10 { try await left.sendMessage([UInt8(number)], descriptor: try .numbered(number)) }
        await left.close()
        var seen: [Int] = []
        for try await message in right.messages {
          seen.append(try #require(try message.takeDescriptor()?.number))
          if seen.count == 4 { break }
        }
        for try await message in right.messages { seen.append(try #require(try message.takeDescriptor()?.number)) }
        #expect(seen == Array(0..<10))
      }
    }

    @Test func aCancelledTaskGroupEndsAllItsReceives() async throws {
      try await withDescriptorOracle { loop in
        var sockets: [(UnixStream, UnixStream)] = []
        for _ in 0..<50 { sockets.append(try UnixStream.makePair()) }
        let ended = await withTaskGroup(of: Bool.self) { group in
          for (_, right) in sockets {
            group.addTask {
              do {
                for try await _ in right.messages {}
                return false
              } catch { return error is CancellationError }
            }
          }
          await untilOperationsArePending(50, on: loop)
          group.cancelAll()
          return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(ended == 50)
      }
    }
  }
}
