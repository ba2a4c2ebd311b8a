// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// Contract: cancellation loses nothing. A cancelled receive returns the message that won, or
  /// leaves it to the next receive.
  @Suite(.timeLimit(.minutes(5))) struct Cancellation {
    @Test(arguments: Reception.all) func aReceiveCancelledBeforeDataLeavesTheMessageForTheNext(
      reception: Reception
    ) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await reception.socket.makePair()
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await reception.next(from: right)
        }
        await untilOperationsArePending(1, on: loop)
        receiving.cancel()
        await #expect(throws: CancellationError.self) { try await receiving.value }
        let unix = left as? any UnixSocket
        if let unix {
          try await unix.sendMessage([9], descriptor: try .numbered(9))
        } else {
          try await left.sendMessage([9])
        }
        let message = try #require(try await reception.next(from: right))
        #expect(message.payload == [9])
        #expect(try message.takeDescriptor()?.number == (unix == nil ? nil : 9))
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: Reception.all) func anAlreadyCancelledTaskTakesNothing(reception: Reception)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try await reception.socket.makePair()
        try await left.sendMessage([1])
        let task = Task(executorPreference: loop.taskExecutor) {
          withUnsafeCurrentTask { $0?.cancel() }
          return try await reception.next(from: right)
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        let sending = Task(executorPreference: loop.taskExecutor) {
          withUnsafeCurrentTask { $0?.cancel() }
          try await left.sendMessage([2])
        }
        await #expect(throws: CancellationError.self) { try await sending.value }
        #expect(try await reception.next(from: right)?.payload == [1])
        await left.close()
        await right.close()
      }
    }

    /// A descriptor is queued, and the receive is cancelled when it may or may not have won: each
    /// descriptor is delivered exactly once, in order.
    @Test(arguments: TestedSocket.unix, [true, false])
    func aThousandCancellationsThatRaceAQueuedDescriptor(socket: TestedSocket, onTheLoop: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try socket.makeUnixPair()
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
            ? Task(executorPreference: loop.taskExecutor) { try await right.receiveMessage() }
            : Task { try await right.receiveMessage() }
          if number % 3 == 0 { await untilOperationsArePending(1, on: loop) }
          if number % 5 == 0 { receiving.cancel() }
          try await left.sendMessage(
            [UInt8(truncatingIfNeeded: number)], descriptor: try .numbered(number))
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
        await left.close()
        await right.close()
      }
    }

    /// Each receive ends in one way, and the message goes to that receive or to the next.
    @Test(arguments: Reception.unix) func aCancellationThatRacesADeadline(reception: Reception)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try reception.socket.makeUnixPair()
        for number in 0..<300 {
          let receiving = Task(executorPreference: loop.taskExecutor) {
            try await loop.withDeadline(.now + .microseconds(number % 30 * 10)) {
              try await reception.next(from: right)
            }
          }
          for _ in 0..<number % 7 { await Task.yield() }
          if number % 3 == 0 { try await left.sendMessage([1], descriptor: try .numbered(number)) }
          receiving.cancel()
          var message: ReceivedMessage?
          do { message = try await receiving.value } catch {
            #expect(
              error is CancellationError || (error as? SocketError)?.code == .deadlineExceeded,
              "\(error)")
          }
          if number % 3 != 0 {
            #expect(message == nil)
            try await left.sendMessage([1], descriptor: try .numbered(number))
          }
          if message == nil { message = try await reception.next(from: right) }
          #expect(try message?.takeDescriptor()?.number == number)
        }
        await left.close()
        await right.close()
      }
    }

    /// A send that waits behind another send of its socket has not begun.
    @Test(arguments: TestedSocket.unix) func aSendCancelledInTheQueueIsNotSent(socket: TestedSocket)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try socket.makeUnixPair()
        let executor = loop.taskExecutor
        let filling = Task(executorPreference: executor) { () -> Int in
          var sent = 0
          do {
            while true {
              try await left.sendMessage([UInt8](repeating: 1, count: 1000))
              sent += 1000
            }
          } catch is CancellationError { return sent } catch let error as SocketError
            where error.code == .partialSend
          {
            return sent + error.bytesSent
          }
        }
        await untilSendsStall(on: loop)
        let before = await loop.operationsInUse
        let queued = Task(executorPreference: executor) {
          try await left.sendMessage([2], descriptor: try .numbered(2))
        }
        await untilTasksWait(before + 1, on: loop)
        queued.cancel()
        await #expect(throws: CancellationError.self) { try await queued.value }
        filling.cancel()
        let sent = try await filling.value
        await left.close()
        var received = 0
        while received < sent {
          let message = try #require(try await right.receiveMessage())
          #expect(message.payload.allSatisfy { $0 == 1 })
          #expect(message.descriptorCount == 0)
          received += message.payload.count
        }
        var end: ReceivedMessage?
        let last = await codeThrown { end = try await right.receiveMessage(options: .doNotWait) }
        #expect(end == nil)
        #expect(last == (socket == .unixDatagram ? .wouldBlock : nil))
        await right.close()
      }
    }

    @Test func aReceiveCancelledInTheQueueLetsTheOthersPass() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let executor = loop.taskExecutor
        let first = Task(executorPreference: executor) { try await right.receiveMessage()?.payload }
        await untilOperationsArePending(1, on: loop)
        let second = Task(executorPreference: executor) {
          try await right.receiveMessage()?.payload
        }
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
        // Fill the queue until a send waits.
        let filling = Task(executorPreference: loop.taskExecutor) {
          var count = 0
          while true {
            do {
              try await left.sendMessage(
                [UInt8](repeating: UInt8(truncatingIfNeeded: count), count: 1000),
                descriptor: try .numbered(count))
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
          try await left.sendMessage(
            [UInt8](repeating: 5, count: 8 << 20), descriptor: try .numbered(1))
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

    @Test(arguments: TestedSocket.unix) func leavingAnIterationLosesNothing(socket: TestedSocket)
      async throws
    {
      try await withDescriptorOracle { _ in
        let (left, right) = try socket.makeUnixPair()
        for number in 0..<10 {
          try await left.sendMessage([UInt8(number)], descriptor: try .numbered(number))
        }
        let first = try await numbers(4, of: right)
        let rest = try await numbers(6, of: right)
        #expect(first + rest == Array(0..<10))
        await left.close()
        await right.close()
      }
    }

    /// The first `count` numbers, from an iteration that is left while more messages wait.
    private func numbers(_ count: Int, of socket: some MessageSocket) async throws -> [Int] {
      var seen: [Int] = []
      for try await message in socket.messages {
        seen.append(try #require(try message.takeDescriptor()?.number))
        if seen.count == count { break }
      }
      return seen
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
