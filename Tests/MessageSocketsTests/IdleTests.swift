// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

/// Sockets on which tasks wait and no message comes.
extension KernelTests {
  @Suite struct Idle {
    /// Beyond `waitingReceiveBuffers` a pending receive holds no buffer, and still gets its
    /// message, with its descriptor.
    @Test(arguments: [0, 3]) func pendingReceivesHoldNoBuffers(limit: Int) async throws {
      var configuration = IOLoop.Configuration()
      configuration.waitingReceiveBuffers = limit
      try await withOwnLoop(configuration) { loop in
        try await loop.run {
          let pairs = try (0..<50).map { _ in try UnixSeqpacket.makePair() }
          try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, (_, right)) in pairs.enumerated() {
              group.addTask {
                let message = try #require(try await right.receiveMessage())
                #expect(message.payload == [UInt8(number)])
                #expect(try message.takeDescriptor()?.number == number)
              }
            }
            await untilOperationsArePending(50, on: loop)
            let isOnRing = loop.driver.kind == .ioUring
            #expect(loop.core.controlBuffers.inUse == (isOnRing ? limit : 0))
            #expect(loop.core.payloadBuffers.inUse == (isOnRing ? limit : 0))
            for (number, (left, _)) in pairs.enumerated() {
              try await left.sendMessage([UInt8(number)], descriptor: try .numbered(number))
            }
            try await group.waitForAll()
          }
          #expect(loop.core.controlBuffers.inUse == 0)
          #expect(loop.core.payloadBuffers.inUse == 0)
          for (left, right) in pairs {
            await left.close()
            await right.close()
          }
        }
      }
    }

    /// A message that a cancelled receive does not take remains for the next one, even if the
    /// cancellation comes between the kernel's readiness event and the actual receive.
    @Test(arguments: [false, true]) func cancellationLosesNothingWithoutBuffers(intoOwnMemory: Bool)
      async throws
    {
      var configuration = IOLoop.Configuration()
      configuration.waitingReceiveBuffers = 0
      try await withOwnLoop(configuration) { loop in
        try await loop.run {
          let (left, right) = try UnixSeqpacket.makePair()
          var random = SystemRandomNumberGenerator()
          for number in 0..<500 {
            let task = Task(executorPreference: loop.taskExecutor) {
              try await Self.receiveByte(right, intoOwnMemory: intoOwnMemory)
            }
            if Bool.random(using: &random) { await untilOperationsArePending(1, on: loop) }
            try await left.sendMessage(
              [UInt8(truncatingIfNeeded: number)], descriptor: try .numbered(number))
            for _ in 0..<Int.random(in: 0..<3, using: &random) { await Task.yield() }
            task.cancel()
            let byte: UInt8
            do { byte = try await task.value } catch is CancellationError {
              byte = try await Self.receiveByte(right, intoOwnMemory: intoOwnMemory)
            }
            #expect(byte == UInt8(truncatingIfNeeded: number))
          }
          await left.close()
          #expect(try await right.receiveMessage() == nil)
          await right.close()
        }
      }
    }

    private static func receiveByte(_ socket: UnixSeqpacket, intoOwnMemory: Bool) async throws
      -> UInt8
    {
      guard intoOwnMemory else { return try #require(try await socket.receiveMessage()).payload[0] }
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
      defer { memory.deallocate() }
      var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
      let descriptors = try await socket.receiveMessage(into: &payload)?.descriptors.count
      #expect(descriptors == 1)
      return memory[0]
    }

    /// Waiting for messages and waiting for errors work concurrently.
    @Test func theErrorQueueIsWaitedForBesideMessages() async throws {
      try await withDescriptorOracle { loop in
        let nobody = try UDPSocket.bind(to: InternetSockets.loopbacks[0])
        let address = try #require(try await nobody.localAddress()?.internet)
        await nobody.close()
        let socket = try UDPSocket.bind(to: InternetSockets.loopbacks[0])
        let own = try #require(try await socket.localAddress()?.internet)
        try await socket.setOption(.errorQueueV4, to: true)
        let errors = Task(executorPreference: loop.taskExecutor) {
          try await socket.receiveMessage(options: .errorQueue)
        }
        await untilOperationsArePending(1, on: loop)
        try await socket.sendMessage([1], to: address)
        #expect(try await errors.value?.extendedError?.errno == .connectionRefused)
        let next = Task(executorPreference: loop.taskExecutor) {
          try await socket.receiveMessage(options: .errorQueue)
        }
        let message = Task(executorPreference: loop.taskExecutor) {
          try await socket.receiveMessage()
        }
        await untilOperationsArePending(2, on: loop)
        try await socket.sendMessage([2], to: own)
        #expect(try await message.value?.payload == [2])
        next.cancel()
        await #expect(throws: CancellationError.self) { _ = try await next.value }
      }
    }
  }
}
