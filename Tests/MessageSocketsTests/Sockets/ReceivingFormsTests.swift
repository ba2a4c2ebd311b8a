// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  @Suite struct ReceivingForms {
    /// Each peek has descriptors of its own, all of which close.
    @Test(arguments: Reception.unix) func peekingLeavesTheMessage(reception: Reception) async throws
    {
      try await withDescriptorOracle { _ in
        let (left, right) = try reception.socket.makeUnixPair()
        try await left.sendMessage([0])
        #expect(try await reception.next(from: right)?.payload == [0])
        let pipe = try Pipe()
        try await left.sendMessage([1], descriptor: pipe.takeWriter())
        try await left.sendMessage([2])
        for _ in 0..<2 {
          let copy = try #require(try await right.receiveMessage(options: .peek))
          #expect(copy.payload == [1])
          #expect(copy.descriptorCount == 1)
          let isCloseOnExec = copy.takeDescriptor()?.isCloseOnExec
          #expect(isCloseOnExec == true)
          #expect(!pipe.isAtEnd)
        }
        let message = try await right.receiveMessage()
        #expect(message?.payload == [1])
        #expect(message?.descriptorCount == 1)
        #expect(message?.takeDescriptors().count == 1)
        #expect(pipe.isAtEnd)
        #expect(try await right.receiveMessage()?.payload == [2])
        await left.close()
        await right.close()
      }
    }

    /// One task iterates and another peeks: both get the message.
    @Test func aPeekThatWaitsSeesWhatAnIterationGets() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let iteration = Task(executorPreference: loop.taskExecutor) {
          for try await message in right.messages { return message.payload }
          return []
        }
        await untilOperationsArePending(1, on: loop)
        let peek = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage(options: .peek)?.payload
        }
        // Both tasks, and the multishot receive if there is one.
        await untilTasksWait(TestLoop.receivesAhead ? 3 : 2, on: loop)
        try await left.sendMessage([5], descriptor: try .numbered(1))
        #expect(try await iteration.value == [5])
        // The peek came second, so it waits for the message after that one.
        try await left.sendMessage([6], descriptor: try .numbered(1))
        #expect(try await peek.value == [6])
        #expect(try await right.receiveMessage()?.payload == [6])
      }
    }

    @Test func aPeekThatWaitsIsCancelled() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let peek = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage(options: .peek)
        }
        await untilOperationsArePending(1, on: loop)
        peek.cancel()
        await #expect(throws: CancellationError.self) { _ = try await peek.value }
        try await left.sendMessage([1])
        #expect(try await right.receiveMessage()?.payload == [1])
      }
    }

    @Test(arguments: [1, 3, 100]) func aBatchTakesWhatThereIs(maximum: Int) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        for number in 0..<10 {
          try await left.sendMessage([UInt8(number)], descriptor: try .numbered(number))
        }
        try await left.shutdown(.sending)
        var numbers: [UInt8] = []
        while true {
          let batch = try await right.receiveMessages(upTo: maximum)
          if batch.isEmpty { break }
          #expect(batch.count <= maximum)
          for message in batch {
            numbers += message.payload
            #expect(try message.takeDescriptor()?.number == Int(message.payload[0]))
          }
        }
        #expect(numbers == Array(0..<10))
      }
    }

    @Test func aBatchLeavesALaterErrorToTheNextReceive() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        // Closed with unread data: earlier messages are delivered, then the error.
        try await right.sendMessage([9])
        try await left.sendMessage([1])
        await left.close()
        #expect(try await right.receiveMessages(upTo: 8).map(\.payload) == [[1]])
        #expect(
          await codeThrown { _ = try await right.receiveMessages(upTo: 8) } == .connectionReset)
        #expect(try await right.receiveMessages(upTo: 8).isEmpty)
      }
    }

    @Test func aBatchIsCancelled() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let task = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessages(upTo: 4)
        }
        await untilOperationsArePending(1, on: loop)
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        try await left.sendMessage([1], descriptor: try .numbered(1))
        #expect(try await right.receiveMessages(upTo: 4).count == 1)
      }
    }

    @Test func aBatchDoesNotWaitBehindAnotherReceive() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let batch = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessages(upTo: 4)
        }
        await untilTasksWait(1, on: loop)
        let other = Task(executorPreference: loop.taskExecutor) { try await right.receiveMessage() }
        await untilTasksWait(2, on: loop)
        try await left.sendMessage([1])
        #expect(try await batch.value.map(\.payload) == [[1]])
        try await left.sendMessage([2])
        #expect(try await other.value?.payload == [2])
      }
    }

    /// The receive after the batch's last attempt gets the error, and the one after that the end,
    /// not the other way round.
    @Test func anErrorThatABatchHasFoundIsForWhoWaits() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsHeld: 4))
        let before = loop.core.statistics.messagesReceived
        let batch = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessages(upTo: 8).map(\.payload)
        }
        await untilOperationsArePending(1, on: loop)
        let behind = Task(executorPreference: loop.taskExecutor) {
          while loop.core.statistics.messagesReceived == before { await Task.yield() }
          // After the batch's job, which checks for more messages.
          await Task.yield()
          return await codeThrown { _ = try await right.receiveMessage() }
        }
        // Closed with unread data: earlier messages are delivered, then the error.
        try await right.sendMessage([9])
        try await left.sendMessage([1])
        await left.close()
        #expect(try await batch.value == [[1]])
        #expect(await behind.value == .connectionReset)
        #expect(try await right.receiveMessage() == nil)
      }
    }

    /// Even if the message was truncated before the length was asked for.
    @Test(arguments: [false, true]) func theFullLengthIsToldOfAMessageThatWasCut(
      receivesAhead: Bool
    ) async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = 10
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        try await check(left, right, receivesAhead)
        let (from, to) = try UnixDatagram.makePair(on: loop)
        try await check(from, to, receivesAhead)
      }
    }

    private func check(
      _ left: some MessageSocket, _ right: some MessageSocket, _ receivesAhead: Bool
    ) async throws {
      try await right.setReceivePolicy(.reportingLoss)
      if receivesAhead {
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage([0])
        #expect(try await iterator.next()?.payload == [0])
      }
      for _ in 0..<5 { try await left.sendMessage([UInt8](repeating: 7, count: 400)) }
      let whole = try #require(try await right.receiveMessage(options: .fullLength))
      #expect(whole.byteCount == 400)
      #expect(whole.payload.allSatisfy { $0 == 7 })
      #expect(whole.outcome.isPayloadTruncated)
      let plain = try #require(try await right.receiveMessage())
      #expect(plain.byteCount == plain.payload.count)
      #expect(plain.outcome.isPayloadTruncated)
      #expect(plain.outcome.fullLength == 400)
      let copy = try #require(try await right.receiveMessage(options: [.peek, .fullLength]))
      #expect(copy.byteCount == 400)
      #expect(try await receiveInto(5, [], from: right) == 5)
      #expect(try await receiveInto(5, .fullLength, from: right) == 400)
      var iterator = right.messages.makeAsyncIterator()
      let step = try #require(try await iterator.next())
      #expect(step.byteCount == step.payload.count)
    }

    private func receiveInto(
      _ count: Int, _ options: ReceiveOptions, from socket: some MessageSocket
    ) async throws -> Int? {
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
      defer { memory.deallocate() }
      var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
      guard let parts = try await socket.receiveMessage(into: &payload, options: options) else {
        return nil
      }
      #expect(payload.byteCount == count)
      return parts.byteCount
    }

    @Test(
      .enabled(
        if: TestLoop.unixStreamsHaveOutOfBandBytes,
        "Unix streams have out-of-band bytes since Linux 5.15"),
      arguments: [false, true])
    func outOfBandBytesAreReceivedApart(receivesAhead: Bool) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        if receivesAhead {
          var iterator = right.messages.makeAsyncIterator()
          try await left.sendMessage([0])
          #expect(try await iterator.next()?.payload == [0])
        }
        try await left.sendMessage([1, 2])
        try await left.sendMessage([3], options: .outOfBand)
        if receivesAhead, TestLoop.receivesStreamsAhead {
          // If the stream was read past the byte, the kernel has dropped it, and the receive
          // reports that. In no case does it wait behind the others.
          let error = await errorThrown {
            let urgent = try await right.receiveMessage(
              options: .outOfBand, deadline: .now + .seconds(10))
            #expect(urgent?.payload == [3])
          }
          #expect(error == nil || error?.errno == .invalidArgument)
        } else {
          #expect(try await right.receiveMessage(options: .outOfBand)?.payload == [3])
        }
        #expect(try await right.receiveMessage()?.payload == [1, 2])
      }
    }
  }
}
