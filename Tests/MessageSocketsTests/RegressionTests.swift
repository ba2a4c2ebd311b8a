// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// Former bugs, each with the test that would have found it.
  @Suite(.timeLimit(.minutes(1))) struct Regressions {
    /// The runtime registers no handler for a task that is already cancelled, and returns NULL.
    @Test(arguments: [0, 3, 20])
    func aTaskCancelledBetweenItsStartAndItsWait(yields: Int) async throws {
      try await withDescriptorOracle { loop in
        for _ in 0..<300 {
          let (left, right) = try UnixStream.makePair()
          await withTaskGroup(of: Void.self) { group in
            group.addTask { _ = try? await right.receiveMessage() }
            group.addTask { _ = try? await right.receiveMessage() }
            group.addTask { try? await left.sendMessage([UInt8](repeating: 0, count: 1 << 20)) }
            for _ in 0..<yields { await Task.yield() }
            group.cancelAll()
          }
        }
      }
    }

    /// A send that has to wait, in a task that runs on the loop's thread without preferring the
    /// loop.
    @Test func aWaitingSendOfADefaultActor() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let sender = DefaultActor()
        async let sent: Void = withThrowingTaskGroup(of: Void.self) { group in
          for _ in 0..<4 { group.addTask { try await sender.send(2 << 20, on: left) } }
          try await group.waitForAll()
        }
        var received = 0
        while received < 8 << 20 {
          received += try #require(try await right.receiveMessage()).payload.count
        }
        try await sent
      }
    }

    @Test func aWaitingSendOfATaskThatIsOnTheLoopByChance() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let task = Task.immediate {
          try await left.sendMessage([UInt8](repeating: 1, count: 4 << 20))
        }
        var received = 0
        while received < 4 << 20 {
          received += try #require(try await right.receiveMessage()).payload.count
        }
        try await task.value
      }
    }

    /// A send that was started before the loop ends is not refused because the end has closed its
    /// peer: the kernel has the send before any task can notice the end.
    @Test func aSendOfTheTurnInWhichTheLoopEnds() async throws {
      for _ in 0..<20 {
        try await withOwnLoop { loop in
          let (sender, receiver) = try UnixDatagram.makePair(on: loop)
          // Created on the loop, so that they are jobs of one turn, in this order.
          let (sent, ended, closed) = await loop.run {
            (
              Task(executorPreference: loop.taskExecutor) { try await sender.sendMessage([1]) },
              Task(executorPreference: loop.taskExecutor) { await loop.shutdown() },
              Task(executorPreference: loop.taskExecutor) {
                while loop.core.isRunning { await Task.yield() }
                await receiver.close()
              }
            )
          }
          try await sent.value
          await ended.value
          await closed.value
        }
      }
    }

    /// A receive that waited for a prefetched message, and receives by itself once receiving ahead
    /// has stopped: it counts the bytes that it got, not the message's full length.
    @Test func aMessageThatIsLongerThanTheRoomAfterReceivingAhead() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        try await left.sendMessage([0])
        for try await _ in right.messages { break }
        let receiving = Task(executorPreference: loop.taskExecutor) {
          let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 10, alignment: 1)
          defer { memory.deallocate() }
          var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
          guard let parts = try await right.receiveMessage(into: &payload) else {
            return (0, 0, false)
          }
          return (parts.byteCount, payload.byteCount, parts.outcome.isPayloadTruncated)
        }
        await loop.run {
          let socket = right.channel.socket
          while socket.receiveInFront == nil, !socket.multishot.hasWaiters { await Task.yield() }
        }
        var policy = ReceivePolicy.reportingLoss
        policy.maximumDescriptorsHeld = 10
        try await right.setReceivePolicy(policy)
        try await left.sendMessage([UInt8](repeating: 1, count: 100))
        let (counted, appended, isTruncated) = try await receiving.value
        #expect(counted == 10)
        #expect(appended == 10)
        #expect(isTruncated)
        await left.close()
        await right.close()
      }
    }

    /// Closing a socket waits for the kernel, not for the loop's shutdown.
    @Test func closingWhileTheLoopShutsDown() async throws {
      var configuration = IOLoop.Configuration()
      configuration.ringEntries = 1
      try await withOwnLoop(configuration) { loop in
        await withTaskGroup(of: Void.self) { group in
          var sockets: [(UnixStream, UnixStream)] = []
          for _ in 0..<200 {
            if let pair = try? UnixStream.makePair(on: loop) { sockets.append(pair) }
          }
          for (_, right) in sockets {
            group.addTask { _ = try? await right.receiveMessage() }
            group.addTask { do { for try await _ in right.messages {} } catch {} }
          }
          await untilOperationsArePending(100, on: loop)
          for (left, right) in sockets {
            group.addTask { await left.close() }
            group.addTask { await right.close() }
          }
          await loop.shutdown()
        }
      }
    }

    /// The request and its cancellation reach the kernel together, while messages are queued: the
    /// kernel delivers all of them, but no task receives them.
    @Test func aSocketDroppedInTheTurnThatArmsItsReceive() async throws {
      try await withDescriptorOracle { loop in
        for _ in 0..<20 {
          var (left, right): (UnixSeqpacket, UnixSeqpacket?) = try UnixSeqpacket.makePair()
          for number in 0..<10 {
            try await left.sendMessage([UInt8(number)], descriptor: try .numbered(number))
          }
          // Both tasks run in one turn: the first arms the receive and drops the last reference to
          // the socket, the second cancels it.
          let executor = loop.taskExecutor
          let receiving = Task(executorPreference: executor) { [socket = right!] in
            do { for try await _ in socket.messages {} } catch {}
          }
          right = nil
          await Task(executorPreference: executor) { receiving.cancel() }.value
          await receiving.value
        }
      }
    }

    @Test func sizesThatAreNoMultipleOfEight() async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = 1001
      configuration.controlBufferSize = 1003
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        try await left.sendMessage([1], descriptor: try .numbered(1))
        try await left.sendMessage([2], descriptor: try .numbered(2))
        #expect(try await right.receiveMessage()?.descriptorCount == 1)
        var iterator = right.messages.makeAsyncIterator()
        #expect(try await iterator.next()?.descriptorCount == 1)
      }
    }

    /// The kernel attaches credentials and `SCM_INQ` to the end of a stream too.
    @Test(arguments: [false, true])
    func theEndOfAStreamWithControlMessages(receivesAhead: Bool) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        var enabled: Int32 = 1
        let number = right.channel.socket.number
        #expect(
          setsockopt(number, SOL_SOCKET, SO_PASSCRED, &enabled, socklen_t(MemoryLayout<Int32>.size))
            == 0)
        try await left.sendMessage([1])
        await left.close()
        var iterator = right.messages.makeAsyncIterator()
        let message = receivesAhead ? try await iterator.next() : try await right.receiveMessage()
        #expect(message?.payload == [1])
        #expect(message?.credentials?.processID == getpid())
        #expect(
          (receivesAhead ? try await iterator.next() : try await right.receiveMessage()) == nil)
      }
    }

    @Test func aSmallWindowOfDescriptorsIsKept() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var many = OwnedFds()
        let file = try OwnedFd.numbered(1)
        for _ in 0..<200 { many.append(try file.duplicate()) }
        for _ in 0..<5 { try await left.sendMessage([1], descriptors: many.span) }
        let before = openDescriptors().count
        var iterator = right.messages(window: ReceiveWindow(descriptors: 1)).makeAsyncIterator()
        for _ in 0..<5 {
          let message = try await iterator.next()
          #expect(message?.descriptorCount == 200)
          #expect(openDescriptors().count == before + 200)
        }
      }
    }

    @Test func messagesReceivedAheadOutliveTheLoop() async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        for number in 0..<10 { try await left.sendMessage([UInt8(number)]) }
        var iterator = right.messages.makeAsyncIterator()
        var seen = [try #require(try await iterator.next()).payload[0]]
        await untilMessagesAreReceived(10, on: loop)
        await loop.shutdown()
        var code: SocketError.Code?
        do {
          while let message = try await iterator.next() { seen.append(message.payload[0]) }
        } catch let error as SocketError { code = error.code }
        if loop.driver.receivesAhead {
          #expect(seen == Array(0..<10))
        }
        #expect(code == .loopShutDown)
      }
    }

    private func untilMessagesAreReceived(_ count: UInt64, on loop: IOLoop) async {
      guard loop.driver.receivesAhead else { return }
      while await loop.statistics.messagesReceived < count { await Task.yield() }
    }
  }
}

private actor DefaultActor {
  func send(_ count: Int, on socket: UnixStream) async throws {
    try await socket.sendMessage([UInt8](repeating: 1, count: count))
  }
}
