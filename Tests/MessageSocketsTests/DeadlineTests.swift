// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  @Suite struct Deadlines {
    @Test(arguments: [true, false])
    func aReceiveThatTakesTooLongLeavesTheMessageForTheNext(receivesAhead: Bool) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        if receivesAhead {
          try await left.sendMessage([0])
          var iterator = right.messages.makeAsyncIterator()
          _ = try await iterator.next()
        }
        let start = ContinuousClock.now
        #expect(
          await codeThrown {
            _ = try await right.receiveMessage(deadline: Deadline(start + .milliseconds(20)))
          } == .deadlineExceeded)
        #expect(ContinuousClock.now - start >= .milliseconds(20))
        try await left.sendMessage([1], descriptor: try .numbered(1))
        let message = try #require(try await right.receiveMessage())
        #expect(try message.takeDescriptor()?.number == 1)
      }
    }

    @Test func aMessageThatHasArrivedWinsAgainstADeadlineThatHasPassed() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        // From the second receive on, the previous one has emptied the socket, so the ring waits
        // for data before it tries.
        for number in 0..<100 as Range<UInt8> {
          try await left.sendMessage([number])
          #expect(try await right.receiveMessage(deadline: .now - .seconds(1))?.payload == [number])
        }
      }
    }

    /// True in both ways of receiving: ahead, and without memory until there is something.
    @Test(arguments: [false, true]) func aMessageThatHasArrivedWinsInEveryWayOfReceiving(
      receivesAhead: Bool
    ) async throws {
      var configuration = IOLoop.Configuration()
      if !receivesAhead { configuration.waitingReceiveBuffers = 0 }
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        if receivesAhead {
          try await left.sendMessage([255])
          for try await message in right.messages {
            #expect(message.payload == [255])
            break
          }
        }
        for number in 0..<100 as Range<UInt8> {
          try await left.sendMessage([number])
          #expect(try await right.receiveMessage(deadline: .now - .seconds(1))?.payload == [number])
        }
        await left.close()
        await right.close()
      }
    }

    /// Past instants, from the latest to the earliest possible.
    static let past: [Duration] = [
      .nanoseconds(-1), .seconds(-1), .nanoseconds(Int64.min), .seconds(Int64.min),
      Duration(attoseconds: .min),
    ]
    static let future: [Duration] = [
      .seconds(1_000_000_000), .nanoseconds(Int64.max), .seconds(Int64.max),
      Duration(attoseconds: .max / 2),
    ]

    @Test func arithmeticSaturates() {
      let now = Deadline.now
      #expect(now + .seconds(1) > now && now - .seconds(1) < now)
      #expect(now + .seconds(1) - .seconds(1) == now)
      for distance in Self.future.dropFirst() {
        #expect(now + distance == .never && Deadline(ContinuousClock.now + distance) == .never)
      }
      #expect(Deadline.never - .seconds(1) == .never && .never > now)
      let start = now - .seconds(Int64.max)
      for distance in Self.past.dropFirst(2) { #expect(now + distance == start) }
      #expect(start.timeLeft == .zero && start < now)
      #expect((now + .seconds(60)).timeLeft > .seconds(30))
      #expect((now + .seconds(60)).timeLeft <= .seconds(60))
      #expect(Deadline.never.timeLeft > .seconds(290 * 365 * 86_400))
      // Never earlier than asked for.
      #expect(now + Duration(attoseconds: 1) == now + .nanoseconds(1))
    }

    @Test(arguments: past) func whatIsPastComesInEveryCall(_ distance: Duration) async throws {
      try await withDescriptorOracle { loop in
        let deadline = Deadline(ContinuousClock.now.advanced(by: distance))
        let (left, right) = try UnixSeqpacket.makePair()
        #expect(
          await codeThrown { _ = try await right.receiveMessage(deadline: deadline) }
            == .deadlineExceeded)
        #expect(
          await codeThrown {
            _ = try await right.receiveMessage(options: .peek, deadline: deadline)
          } == .deadlineExceeded)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 1)
        defer { memory.deallocate() }
        let code = await codeThrown {
          var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
          _ = try await right.receiveMessage(into: &payload, deadline: deadline)
        }
        #expect(code == .deadlineExceeded)
        #expect(
          await codeThrown {
            _ = try await loop.withDeadline(deadline) { try await right.receiveMessage() }
          } == .deadlineExceeded)
        try await loop.sleep(for: distance)
        // A send that need not wait, and a message that has arrived, win even against the earliest
        // possible instant.
        try await left.sendMessage([1], deadline: deadline)
        #expect(try await right.receiveMessage(deadline: deadline)?.payload == [1])
      }
    }

    @Test(arguments: future) func whatNeverComesIsInNobodysWay(_ distance: Duration) async throws {
      try await withDescriptorOracle { loop in
        let deadline = Deadline(ContinuousClock.now.advanced(by: distance))
        let (left, right) = try UnixSeqpacket.makePair()
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage(deadline: deadline)?.payload
        }
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await loop.withDeadline(deadline) { try await loop.sleep(for: distance) }
        }
        await untilTasksWait(3, on: loop)
        // Deadlines of other operations pass in the meantime.
        let other = try UnixSeqpacket.makePair()
        #expect(
          await codeThrown {
            _ = try await other.0.receiveMessage(deadline: .now + .milliseconds(20))
          } == .deadlineExceeded)
        try await loop.sleep(for: .milliseconds(20))
        try await left.sendMessage([2], deadline: deadline)
        #expect(try await receiving.value == [2])
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
      }
    }

    @Test func aGraceTimeMayBeAnyDuration() async throws {
      try await withDescriptorOracle { loop in
        for grace in [
          Duration(attoseconds: .min), .seconds(Int64.max), Duration(attoseconds: .max),
        ] {
          let address = try UnixAddress(abstract: "message-sockets-grace-\(getpid())")
          let listener = try UnixListener<UnixStream>.bind(to: address)
          let server = Task(executorPreference: loop.taskExecutor) {
            try await listener.serve(ServeLimits(maximumConnections: 1, gracePeriod: grace)) {
              _ = try await $0.receiveMessage()
            }
          }
          let client = try await UnixStream.connect(to: address)
          try await client.sendMessage([1])
          #expect(try await client.receiveMessage() == nil)
          server.cancel()
          try await server.value
        }
      }
    }

    /// The result of the body is returned, however the deadline's own wait ends.
    @Test func aResultWinsAgainstTheLoopsEnd() async throws {
      try await withOwnLoop { loop in
        let result = try await loop.withDeadline(.now + .seconds(60)) {
          await loop.shutdown()
          return 7
        }
        #expect(result == 7)
      }
    }

    @Test func deadlinesThatRaceMessagesLoseNone() async throws {
      try await raceMessages { _, socket, deadline in
        try await socket.receiveMessage(deadline: deadline)
      }
    }

    /// In a body with several steps too: a message was either taken and returned, or not taken.
    @Test func bodiesThatRaceTheirDeadlineLoseNone() async throws {
      try await raceMessages { loop, socket, deadline in
        try await loop.withDeadline(deadline) { try await socket.receiveMessage() }
      }
    }

    /// Each message arrives around the deadline of its receive, so that receive or the next one
    /// gets it. The deadline adapts to the speed of the machine until both outcomes occur.
    private func raceMessages(
      _ receive: (IOLoop, UnixSeqpacket, Deadline) async throws -> ReceivedMessage?
    ) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var inTime = 0
        var patience = Duration.microseconds(500)
        for number in 0..<200 {
          async let sent: Void = {
            try await loop.sleep(for: .microseconds(number * 5))
            try await left.sendMessage([UInt8(number)], descriptor: try .numbered(number))
          }()
          var message: ReceivedMessage?
          do {
            message = try await receive(loop, right, .now + patience)
            inTime += 1
            patience = patience * 7 / 8
          } catch let error as SocketError where error.code == .deadlineExceeded {
            patience = patience * 8 / 7
          }
          try await sent
          if message == nil { message = try await right.receiveMessage() }
          #expect(try message?.takeDescriptor()?.number == number)
        }
        #expect(inTime > 0 && inTime < 200, "the race went one way only: \(inTime) of 200")
      }
    }

    @Test func sleepsEndInTheOrderOfTheirDeadlines() async throws {
      try await withDescriptorOracle { loop in
        let order = await withTaskGroup(of: Int.self) { group in
          for milliseconds in [30, 10, 20] {
            group.addTask {
              try? await loop.sleep(for: .milliseconds(milliseconds))
              return milliseconds
            }
          }
          return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(order == [10, 20, 30])
      }
    }

    @Test func aSleepIsCancelled() async throws {
      try await withDescriptorOracle { loop in
        let sleeping = Task(executorPreference: loop.taskExecutor) {
          try await loop.sleep(for: .seconds(1000))
        }
        await untilTasksWait(1, on: loop)
        sleeping.cancel()
        await #expect(throws: CancellationError.self) { try await sleeping.value }
      }
    }

    /// EMFILE on accept: the listener waits and then continues.
    @Test func aListenerOutlivesAProcessWithoutDescriptors() async throws {
      try await withDescriptorOracle { _ in
        let address = try UnixAddress(abstract: Array("message-sockets-emfile-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let client = try await UnixStream.connect(to: address)
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        // No descriptor number is free below the lowered limit.
        var lowered = limit
        lowered.rlim_cur = 3
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &lowered)
        #expect(await codeThrown { _ = try await listener.accept() } == .outOfDescriptors)
        async let first: UnixStream? = {
          var iterator = listener.connections.makeAsyncIterator()
          return try await iterator.next()
        }()
        await untilTasksWait(1, on: listener.loop)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        let connection = try #require(try await first)
        try await client.sendMessage([5])
        #expect(try await connection.receiveMessage()?.payload == [5])
        await listener.close()
      }
    }
  }
}
