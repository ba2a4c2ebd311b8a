// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

@testable import SocketEngine

extension KernelTests {
  /// A receive whose message is expected in its own turn waits until the end of the turn without a
  /// cancellation handler. That must be the only difference.
  @Suite(.timeLimit(.minutes(1))) struct AnswersInTurn {
    enum Way: CaseIterable { case single, ahead }

    private static func next(_ way: Way, from socket: UnixSeqpacket) async throws
      -> ReceivedMessage?
    {
      switch way {
      case .single: return try await socket.receiveMessage()
      case .ahead:
        for try await message in socket.messages { return message }
        return nil
      }
    }

    private static func expectAnswer(on socket: UnixSeqpacket) async {
      await socket.loop.run {
        socket.channel.socket.sameTurn.note(true)
        socket.channel.socket.sameTurn.note(true)
      }
    }

    private static func expectsAnswer(on socket: UnixSeqpacket) async -> Bool {
      await socket.loop.run { socket.channel.socket.sameTurn.isLikely }
    }

    private static func untilATurnHasPassed(sinceAReceiveOf socket: UnixSeqpacket) async {
      await socket.loop.run {
        let open = socket.channel.socket
        while !open.multishot.hasWaiters, open.receiveInFront == nil { await Task.yield() }
        let turn = open.core.turnNumber
        while open.core.turnNumber == turn { await Task.yield() }
      }
    }

    @Test(arguments: Way.allCases) func theyAreExpectedBetweenSocketsOfABusyLoop(way: Way)
      async throws
    {
      try await withDescriptorOracle { loop in
        let pairs = try (0..<8).map { _ in try UnixSeqpacket.makePair() }
        try await withThrowingTaskGroup { group in
          for (left, right) in pairs {
            group.addTask {
              for _ in 0..<20 {
                try await left.sendMessage([1])
                _ = try await Self.next(way, from: left)
              }
            }
            group.addTask {
              for _ in 0..<20 {
                _ = try await Self.next(way, from: right)
                try await right.sendMessage([2])
              }
            }
          }
          try await group.waitForAll()
        }
        var expected = 0
        for (left, right) in pairs {
          for socket in [left, right] where await Self.expectsAnswer(on: socket) { expected += 1 }
        }
        #expect(expected > 0)
        for (left, right) in pairs {
          await left.close()
          await right.close()
        }
      }
    }

    @Test(arguments: Way.allCases, [true, false]) func aMessageThatComesLater(
      way: Way, onTheLoop: Bool
    ) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        for number in 0..<20 {
          await Self.expectAnswer(on: right)
          let receiving = Task(executorPreference: onTheLoop ? loop.taskExecutor : nil) {
            try await Self.next(way, from: right)
          }
          await Self.untilATurnHasPassed(sinceAReceiveOf: right)
          #expect(
            await !Self.expectsAnswer(on: right),
            "the receive has not looked at the end of the turn")
          try await left.sendMessage([UInt8(number)], descriptor: try .numbered(number))
          let message = try #require(try await receiving.value)
          #expect(message.payload == [UInt8(number)])
          #expect(try message.takeDescriptor()?.number == number)
        }
        await left.close()
        await right.close()
      }
    }

    /// Cancels in the turn, at its end, and after the receive has registered its cancellation
    /// handler.
    @Test(arguments: Way.allCases, [true, false]) func cancellationAtAnyMoment(
      way: Way, onTheLoop: Bool
    ) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        for number in 0..<200 {
          await Self.expectAnswer(on: right)
          let receiving = Task(executorPreference: onTheLoop ? loop.taskExecutor : nil) {
            try await Self.next(way, from: right)
          }
          if number % 3 == 0 { await Self.untilATurnHasPassed(sinceAReceiveOf: right) }
          for _ in 0..<number % 8 { await Task.yield() }
          if number.isMultiple(of: 2) {
            receiving.cancel()
          } else {
            await Task.detached { receiving.cancel() }.value
          }
          await #expect(throws: CancellationError.self) { try await receiving.value }
          try await left.sendMessage([UInt8(number)])
          #expect(try await right.receiveMessage()?.payload == [UInt8(number)])
        }
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: Way.allCases) func theEndOfTheSocketAndOfTheLoop(way: Way) async throws {
      for shutsDown in [false, true] {
        try await withOwnLoop { loop in
          let (left, right) = try UnixSeqpacket.makePair(on: loop)
          await Self.expectAnswer(on: right)
          // Both tasks are created on the loop, so that they run in one turn.
          let (receiving, ending) = await loop.run {
            (
              Task(executorPreference: loop.taskExecutor) {
                await codeThrown { _ = try await Self.next(way, from: right) }
              },
              Task(executorPreference: loop.taskExecutor) {
                if shutsDown { await loop.shutdown() } else { await right.close() }
              }
            )
          }
          #expect(await receiving.value == (shutsDown ? .loopShutDown : .closed))
          await ending.value
          await left.close()
        }
      }
    }

    @Test func aDeadline() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        for delay in [Duration.zero, .milliseconds(1)] {
          await Self.expectAnswer(on: right)
          #expect(
            await codeThrown { _ = try await right.receiveMessage(deadline: .now + delay) }
              == .deadlineExceeded)
        }
        await left.close()
        await right.close()
      }
    }

    /// Such a task continues elsewhere after the turn, and waits on from there.
    @Test(arguments: Way.allCases) func aTaskThatIsOnTheLoopByChance(way: Way) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        for number in 0..<50 as Range<UInt8> {
          await Self.expectAnswer(on: right)
          let receiving = Task.immediate { try await Self.next(way, from: right) }
          if number.isMultiple(of: 5) {
            receiving.cancel()
            await #expect(throws: CancellationError.self) { try await receiving.value }
          } else {
            try await left.sendMessage([number])
            #expect(try await receiving.value?.payload == [number])
          }
        }
        await left.close()
        await right.close()
      }
    }
  }
}
