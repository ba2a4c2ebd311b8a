// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

@testable import SocketEngine

extension KernelTests {
  /// The cost of an event does not depend on how many other operations there are. The tests count
  /// operations, not time.
  @Suite(.timeLimit(.minutes(2))) struct Scaling {
    private enum End: CaseIterable { case close, cancel, shutdown }

    /// The number of examined entries and jobs that it takes to end `count` receives that wait on
    /// one socket.
    private func costOfEnding(_ count: Int, _ end: End, isAhead: Bool) async throws -> Int {
      var cost = 0
      try await withOwnLoop { loop in
        try await loop.run {
          let (left, right) = try UnixDatagram.makePair(on: loop)
          let tasks = (0..<count).map { _ in
            Task(executorPreference: loop.taskExecutor) {
              if isAhead {
                for try await _ in right.messages {}
              } else {
                _ = try await right.receiveMessage()
              }
            }
          }
          await untilTasksWait(count, on: loop)
          let before = (loop.core.entriesSeen, loop.core.statistics.jobs)
          switch end {
          case .close: await right.close()
          case .shutdown: try await right.shutdown(.receiving)
          // From the middle on, an order that no queue has.
          case .cancel: for index in 0..<count { tasks[(index + count / 2) % count].cancel() }
          }
          for task in tasks { _ = await task.result }
          cost = loop.core.entriesSeen - before.0 + Int(loop.core.statistics.jobs - before.1)
          await left.close()
          await right.close()
        }
      }
      return cost
    }

    @Test(arguments: [false, true]) func endingManyWaitingReceives(isAhead: Bool) async throws {
      for end in End.allCases {
        let one = try await costOfEnding(1000, end, isAhead: isAhead)
        let two = try await costOfEnding(2000, end, isAhead: isAhead)
        #expect(two < one * 5 / 2, "\(end): 1000 cost \(one), 2000 cost \(two)")
        #expect(one < 20_000, "\(end): 1000 cost \(one)")
      }
    }

    /// A task group searches for a child that has ended, starting from the oldest.
    @Test func tasksThatWaitEndInTheOrderInWhichTheyCame() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let (ended, end) = AsyncStream.makeStream(of: Int.self)
        for index in 0..<100 {
          Task(executorPreference: loop.taskExecutor) {
            _ = try? await right.receiveMessage()
            end.yield(index)
          }
        }
        await untilTasksWait(100, on: loop)
        await right.close()
        var order: [Int] = []
        for await index in ended.prefix(100) { order.append(index) }
        // The first receive is in the kernel, and ends when the kernel has released it.
        #expect(order.filter { $0 != 0 } == Array(1..<100))
        await left.close()
      }
    }

    /// A piece of a stream is distributed among tasks that each have room for one byte, without
    /// recursion.
    @Test func aPieceForManyWaitingReceives() async throws {
      try await withDescriptorOracle { loop in
        let count = 20_000
        let (left, right) = try UnixStream.makePair()
        let arming = Task(executorPreference: loop.taskExecutor) {
          for try await message in right.messages { return message.payload }
          return []
        }
        await untilOperationsArePending(1, on: loop)
        let tasks = (0..<count).map { _ in
          Task(executorPreference: loop.taskExecutor) {
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
            defer { memory.deallocate() }
            var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
            return try await right.receiveMessage(into: &payload)?.byteCount ?? 0
          }
        }
        await untilTasksWait(count, on: loop)
        try await left.sendMessage([1])
        #expect(try await arming.value == [1])
        try await left.sendMessage([UInt8](repeating: 2, count: count))
        var sum = 0
        for task in tasks { sum += try await task.value }
        #expect(sum == count)
      }
    }

    /// The number of requests per message if there are far fewer buffers than busy sockets.
    private func requestsPerMessage(sockets: Int) async throws -> Double {
      var configuration = IOLoop.Configuration()
      configuration.receiveBuffers = 2
      let messages = 10
      var requests = 0.0
      try await withOwnLoop(configuration) { loop in
        try await loop.run {
          let pairs = try (0..<sockets).map { _ in try UnixSeqpacket.makePair(on: loop) }
          let receivers = pairs.map { pair in
            Task(executorPreference: loop.taskExecutor) {
              var count = 0
              for try await _ in pair.1.messages { count += 1 }
              return count
            }
          }
          await untilTasksWait(sockets, on: loop)
          let before = await loop.statistics
          for number in 0..<messages {
            for pair in pairs { try await pair.0.sendMessage([UInt8(number)]) }
          }
          for pair in pairs { await pair.0.close() }
          for receiver in receivers { #expect(try await receiver.value == messages) }
          let after = await loop.statistics
          requests = Double(after.submissions - before.submissions) / Double(sockets * messages)
          for pair in pairs { await pair.1.close() }
        }
      }
      return requests
    }

    @Test func fewBuffersForManySockets() async throws {
      let few = try await requestsPerMessage(sockets: 50)
      let many = try await requestsPerMessage(sockets: 400)
      #expect(many < 2 * few + 1, "\(few) requests for a message of 50 sockets, \(many) of 400")
      #expect(many < 6, "\(many) requests for a message")
    }

    @Test func aServerWithoutALimit() async throws {
      try await withDescriptorOracle { loop in
        let listener = try UnixListener<UnixSeqpacket>.bind(to: try .unused())
        let server = Task {
          try await listener.serve(ServeLimits(maximumConnections: .max)) { connection in
            for try await message in connection.messages {
              try await connection.sendMessage(message.payload)
            }
          }
        }
        for number in 0..<3 {
          let client = try await UnixSeqpacket.connect(to: listener.address)
          try await client.sendMessage([UInt8(number)])
          #expect(try await client.receiveMessage()?.payload == [UInt8(number)])
          await client.close()
        }
        server.cancel()
        try await server.value
      }
    }

    /// Entries of operations that have ended do not accumulate behind one that stays.
    @Test func aLineForgetsThoseThatHaveLeft() async throws {
      try await withOwnLoop { loop in
        await loop.run {
          var line = OperationLine()
          let first = loop.core.makeOperation(.event, socket: nil)
          line.append(first)
          let before = loop.core.entriesSeen
          for _ in 0..<1000 {
            let next = loop.core.makeOperation(.event, socket: nil)
            line.append(next)
            line.remove(next)
            next.discard(on: loop.core)
          }
          #expect(line.count == 1)
          #expect(line.all == [first])
          #expect(loop.core.entriesSeen - before < 3000)
          #expect(line.popFirst() == first)
          #expect(line.popFirst() == nil)
          first.discard(on: loop.core)
        }
      }
    }
  }
}
