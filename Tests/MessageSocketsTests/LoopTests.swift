// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  @Suite struct Loops {
    /// Many tasks on one loop, which they prefer, exchange messages and descriptors; no message
    /// costs a thread hop or an enqueue.
    @Test func aTaskThatPrefersTheLoopMakesNoHops() async throws {
      try await withDescriptorOracle { loop in
        let rounds = 500
        let pairs = 8
        let before = await loop.statistics
        try await withThrowingTaskGroup(of: Void.self) { group in
          for _ in 0..<pairs {
            let (left, right) = try UnixStream.makePair()
            group.addTask {
              for round in 0..<rounds {
                if round % 2 == 0 {
                  try await left.sendMessage([1], descriptor: try .openFile("/dev/null"))
                } else {
                  try await left.sendMessage([1])
                }
                _ = try await left.receiveMessage()
              }
              await left.close()
            }
            group.addTask {
              for try await message in right.messages {
                let descriptors = message.takeDescriptors()
                try await right.sendMessage(message.payload, descriptors: descriptors.span)
              }
            }
          }
          try await group.waitForAll()
        }
        let after = await loop.statistics
        #expect(after.messagesSent - before.messagesSent == UInt64(2 * rounds * pairs))
        #expect(after.descriptorsReceived - before.descriptorsReceived == UInt64(rounds * pairs))
        #expect(after.hops == before.hops)
        // Starting and ending tasks and closing sockets cost a few enqueues, messages none.
        #expect(after.localEnqueues - before.localEnqueues < UInt64(20 * pairs))
      }
    }

    @Test func aTaskOnTheGlobalPoolHopsOncePerCall() async throws {
      let loop = try TestLoop.shared.get()
      let before = openDescriptors()
      do {
        let (left, right) = try UnixStream.makePair(on: loop)
        let first = await loop.statistics
        for _ in 0..<100 {
          try await left.sendMessage([1], descriptor: try .openFile("/dev/null"))
          _ = try await right.receiveMessage()
        }
        let last = await loop.statistics
        // Two calls per round, and the visit of this measurement itself.
        #expect(last.hops - first.hops <= 201)
      }
      #expect(openDescriptors() == before)
    }

    @Test func shutdownEndsEverythingInFlight() async throws {
      try await withOwnLoop { loop in
        var sockets: [(UnixStream, UnixStream)] = []
        for _ in 0..<20 { sockets.append(try UnixStream.makePair(on: loop)) }
        let codes = await withTaskGroup(of: SocketError.Code?.self) { group in
          for (_, right) in sockets.prefix(10) {
            group.addTask { await codeThrown { _ = try await right.receiveMessage() } }
          }
          for (_, right) in sockets.suffix(10) {
            group.addTask { await codeThrown { for try await _ in right.messages {} } }
          }
          for (left, _) in sockets.suffix(5) {
            group.addTask {
              await codeThrown { try await left.sendMessage([UInt8](repeating: 0, count: 8 << 20)) }
            }
          }
          await untilOperationsArePending(20, on: loop)
          await loop.shutdown()
          await loop.shutdown()
          return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(codes.count == 25)
        #expect(codes.allSatisfy { $0 == .loopShutDown || $0 == .partialSend })
        let (left, right) = sockets[19]
        #expect(await codeThrown { try await left.sendMessage([1]) } == .loopShutDown)
        await left.close()
        await right.close()
      }
    }

    @Test func aLoopThatNobodyHoldsEndsWithItsDriver() async throws {
      let before = allDescriptors()
      do {
        let loop = try IOLoop()
        let (left, right) = try UnixStream.makePair(on: loop)
        try await left.sendMessage([1], descriptor: try .numbered(1))
        _ = right
      }
      // The thread ends by itself, and closes the ring or the epoll instance.
      await untilOpenDescriptors(are: before)
    }

    @Test func runIsOnTheLoopFromTheStart() async throws {
      let loop = try TestLoop.shared.get()
      #expect(await loop.run { loop.isCurrent })
    }

    @Test func aConfigurationOutOfRangeIsATypedError() {
      var configuration = IOLoop.Configuration()
      configuration.ringEntries = 0
      #expect(throws: SocketError.self) { try IOLoop(configuration) }
      var large = IOLoop.Configuration()
      large.receiveBuffers = 32_768
      large.receiveBufferSize = 16 << 20
      #expect(throws: SocketError.self) { try IOLoop(large) }
      #expect(throws: SocketError.self) { try IOLoopGroup(count: 0) }
    }

    /// Sockets made without a loop, by a task that is on none, are distributed over the process's
    /// group.
    @Test func socketsWithoutALoopAreSpreadOverTheSharedGroup() async throws {
      let group = try IOLoopGroup.shared()
      #expect(try IOLoopGroup.shared() === group)
      #expect(group.loops.count == IOLoopGroup.defaultCount)
      var used: Set<ObjectIdentifier> = []
      for _ in group.loops {
        let (left, right) = try UnixStream.makePair()
        #expect(left.loop === right.loop)
        #expect(group.loops.contains { $0 === left.loop })
        used.insert(ObjectIdentifier(left.loop))
        try await left.sendMessage([1])
        #expect(try await right.receiveMessage()?.payload == [1])
        await left.close()
        await right.close()
      }
      #expect(used.count == group.loops.count)
    }

    @Test(arguments: [false, true]) func userActorsOnTheLoopCallSocketsWithoutSwitching(
      receivesAhead: Bool
    ) async throws {
      try await withDescriptorOracle { loop in
        let echo = EchoActor(loop: loop, receivesAhead: receivesAhead)
        try await echo.run(rounds: 10)
        let before = await loop.statistics
        try await echo.run(rounds: 200)
        let after = await loop.statistics
        #expect(after.localEnqueues - before.localEnqueues < 20)
        #expect(after.hops == before.hops)
      }
    }
  }
}

private actor EchoActor {
  let loop: IOLoop
  let receivesAhead: Bool

  init(loop: IOLoop, receivesAhead: Bool) {
    self.loop = loop
    self.receivesAhead = receivesAhead
  }

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    loop.serialExecutor.asUnownedSerialExecutor()
  }

  func run(rounds: Int) async throws {
    let (left, right) = try UnixStream.makePair(on: loop)
    var messages = right.messages.makeAsyncIterator()
    for _ in 0..<rounds {
      try await left.sendMessage([1])
      if receivesAhead {
        _ = try await messages.next(isolation: self)
      } else {
        _ = try await right.receiveMessage()
      }
    }
    await left.close()
    await right.close()
  }
}
