// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// Servers that stop, and how their handlers notice. No test waits for time to pass: the grace
  /// period is an hour, so only an event can end a server.
  @Suite(.timeLimit(.minutes(2))) struct Draining {
    private static let limits = ServeLimits(maximumConnections: 200, gracePeriod: .seconds(3600))

    @Test(arguments: [false, true]) func idleClientsDoNotHoldUpTheEnd(listenerIsClosed: Bool)
      async throws
    {
      try await withDescriptorOracle { _ in
        let address = try address()
        let listener = try UnixListener<UnixSeqpacket>.bind(to: address)
        let served = Mutex(0)
        let server = Task {
          try await listener.serve(Self.limits) { connection in
            for try await message in connection.messages.untilDraining() {
              try await connection.sendMessage(message.payload)
            }
            served.withLock { $0 += 1 }
          }
        }
        var clients: [UnixSeqpacket] = []
        for number in 0..<100 {
          let client = try await UnixSeqpacket.connect(to: address)
          // Every second client exchanges messages before it is idle.
          if number.isMultiple(of: 2) {
            try await client.sendMessage([UInt8(number)])
            #expect(try await client.receiveMessage()?.payload == [UInt8(number)])
          }
          clients.append(client)
        }
        // Clients that have sent nothing must have been accepted as well.
        try await untilHandled(by: listener, address)
        if listenerIsClosed { await listener.close() } else { server.cancel() }
        try await server.value
        #expect(served.withLock { $0 } == 101)
        for client in clients { #expect(try await client.receiveMessage() == nil) }
      }
    }

    /// The connection was accepted before the server drains, on a loop that is busy until then.
    @Test func aConnectionWhoseHandlerStartsLateLearnsOfIt() async throws {
      try await withDescriptorOracle { loop in
        let gate = try FileDescriptor.pipe(options: .closeOnExec)
        let group = try IOLoopGroup(count: 1)
        let address = try address()
        let accepted = Mutex(0)
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: address,
          authorization: .custom { _ in
            accepted.withLock { $0 += 1 }
            return true
          }, on: loop, connectionsOn: group)
        let blocking = Task.detached {
          await group.loops[0].run {
            var byte: UInt8 = 0
            _ = try? withUnsafeMutableBytes(of: &byte) { try gate.readEnd.read(into: $0) }
          }
        }
        let server = Task {
          try await listener.serve(Self.limits) { connection in
            for try await _ in connection.messages.untilDraining() {}
          }
        }
        // The second connection is authorized while the first is on its way to its handler.
        let clients = [
          try await UnixSeqpacket.connect(to: address),
          try await UnixSeqpacket.connect(to: address),
        ]
        while accepted.withLock({ $0 }) < 2 { await Task.yield() }
        server.cancel()
        while await codeThrown(by: { _ = try await UnixSeqpacket.connect(to: address) }) == nil {}
        try gate.writeEnd.close()
        await blocking.value
        try gate.readEnd.close()
        try await server.value
        for client in clients { await client.close() }
        await group.shutdown()
      }
    }

    /// Messages that have arrived are handled first, both prefetched ones and those in the kernel's
    /// queue.
    @Test(arguments: [TestedSocket.unixStream, .unixSeqpacket])
    func messagesThatHaveArrivedComeFirst(socket: TestedSocket) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try socket.makeUnixPair()
        try await collect(from: left, into: right)
        await left.close()
        await right.close()
      }
    }

    private func collect<Left: MessageSocket, Right: MessageSocket>(
      from left: Left, into right: Right
    ) async throws {
      // More than fits into a window.
      var iterator = right.messages(window: ReceiveWindow(messages: 2)).untilDraining()
        .makeAsyncIterator()
      try await left.sendMessage([0])
      var received = try #require(try await iterator.next()).payload
      for number in 1..<20 { try await left.sendMessage([UInt8(number)]) }
      // Turns in which the kernel may deliver ahead.
      for _ in 0..<10 { await Task.yield() }
      right.startDraining()
      right.startDraining()
      while let message = try await iterator.next() { received += message.payload }
      #expect(received == Array(0..<20))
      // Only the iteration ends; the socket continues.
      try await left.sendMessage([20])
      #expect(try await right.receiveMessage()?.payload == [20])
      #expect(try await iterator.next() == nil)
    }

    @Test(arguments: TestedSocket.allCases) func aTaskThatWaitsGoesOn(socket: TestedSocket)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try await socket.makePair()
        let before = await loop.operationsInUse
        let iterating = Task(executorPreference: loop.taskExecutor) {
          try await iterateInVain(right)
        }
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await right.waitUntilDraining()
        }
        await untilTasksWait(before + 2, on: loop)
        #expect(!right.isDraining)
        right.startDraining()
        try await iterating.value
        try await waiting.value
        try await right.waitUntilDraining()
        await left.close()
        await right.close()
      }
    }

    private func iterateInVain(_ socket: some MessageSocket) async throws {
      for try await _ in socket.messages.untilDraining() { Issue.record("nothing was sent") }
    }

    /// Tasks that prefer no loop take another code path.
    @Test func tasksElsewhereLearnOfIt() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let bytes = Task.detached { () -> [UInt8] in
          var bytes: [UInt8] = []
          for try await byte in right.bytes.untilDraining() { bytes.append(byte) }
          return bytes
        }
        let waiting = Task.detached { try await right.waitUntilDraining() }
        try await left.sendMessage([1, 2, 3])
        await untilTasksWait(2, on: loop)
        right.startDraining()
        #expect(try await bytes.value == [1, 2, 3])
        try await waiting.value
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: [false, true]) func otherReceivesGoOn(isAhead: Bool) async throws {
      try await withDescriptorOracle { loop in
        let reception = Reception(socket: .unixSeqpacket, isAhead: isAhead)
        let (left, right) = try UnixSeqpacket.makePair()
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await reception.next(from: right)?.payload
        }
        await untilTasksWait(1, on: loop)
        right.startDraining()
        for _ in 0..<10 { await Task.yield() }
        // An iteration that ends with draining does not wait behind the receive either.
        for try await _ in right.messages.untilDraining() { Issue.record("nothing was sent") }
        try await left.sendMessage([1])
        #expect(try await receiving.value == [1])
        await left.close()
        await right.close()
      }
    }

    @Test func whoWaitsForItLearnsOfTheSocketsEnd() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await right.waitUntilDraining()
        }
        await untilTasksWait(1, on: loop)
        await right.close()
        #expect(await codeThrown { try await waiting.value } == .closed)
        let cancelled = Task(executorPreference: loop.taskExecutor) {
          try await left.waitUntilDraining()
        }
        await untilTasksWait(1, on: loop)
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        await left.close()
        #expect(await codeThrown { try await left.waitUntilDraining() } == .closed)
      }
      try await withOwnLoop { loop in
        let (left, _) = try UnixSeqpacket.makePair(on: loop)
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await left.waitUntilDraining()
        }
        await untilTasksWait(1, on: loop)
        await loop.shutdown()
        #expect(await codeThrown { try await waiting.value } == .loopShutDown)
        await left.close()
      }
    }

    /// A handler that is sending an answer is not disturbed; a handler that has not begun is
    /// notified as well.
    @Test func anAnswerThatIsBeingGivenIsFinished() async throws {
      try await withDescriptorOracle { loop in
        let address = try address()
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let (gate, opening) = AsyncStream.makeStream(of: Void.self)
        let (arrivals, arrival) = AsyncStream.makeStream(of: Bool.self)
        let server = Task {
          try await listener.serve(Self.limits) { connection in
            for try await request in connection.messages.untilDraining() {
              arrival.yield(connection.isDraining)
              for await _ in gate {}
              try await connection.sendMessage(request.payload)
            }
          }
        }
        let client = try await UnixStream.connect(to: address)
        try await client.sendMessage([7])
        var arrived = arrivals.makeAsyncIterator()
        #expect(await arrived.next() == false)
        server.cancel()
        while await codeThrown(by: { await (try UnixStream.connect(to: address)).close() })
          != .connectionRefused
        {}
        try await client.sendMessage([8])
        opening.finish()
        var answer: [UInt8] = []
        while answer.count < 2, let message = try await client.receiveMessage() {
          answer += message.payload
        }
        #expect(answer == [7, 8])
        #expect(try await client.receiveMessage() == nil)
        try await server.value
      }
    }

    /// If a client is answered, all clients before it have been accepted.
    private func untilHandled(by listener: UnixListener<UnixSeqpacket>, _ address: UnixAddress)
      async throws
    {
      let last = try await UnixSeqpacket.connect(to: address)
      try await last.sendMessage([1])
      #expect(try await last.receiveMessage()?.payload == [1])
      await last.close()
    }

    private static let count = Atomic(0)

    private func address() throws -> UnixAddress {
      let number = Self.count.add(1, ordering: .relaxed).newValue
      return try UnixAddress(abstract: "message-sockets-draining-\(getpid())-\(number)")
    }
  }
}
