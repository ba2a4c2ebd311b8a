// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import MessageSockets
import Synchronization
import Testing

@testable import SocketEngine

extension KernelTests {
  /// `listener.serve`: which clients are served, and how serving ends.
  @Suite struct Serving {
    @Test func clientsAreServedUntilTheTaskIsCancelled() async throws {
      try await withDescriptorOracle { _ in
        let address = try abstractAddress()
        try await withServer(try UnixListener<UnixSeqpacket>.bind(to: address), handler: echo) {
          _ in
          for number in 0..<20 {
            let client = try await UnixSeqpacket.connect(to: address)
            try await client.sendMessage([UInt8(number)], descriptor: try .numbered(number))
            let message = try #require(try await client.receiveMessage())
            #expect(message.payload == [UInt8(number)])
            #expect(try message.takeDescriptor()?.number == number)
          }
        }
        #expect(
          await codeThrown { _ = try await UnixSeqpacket.connect(to: address) }
            == .connectionRefused)
      }
    }

    @Test func aServerWithoutRoomIsAMistake() async throws {
      await #expect(processExitsWith: .failure) { _ = ServeLimits(maximumConnections: 0) }
      await #expect(processExitsWith: .failure) {
        var limits = ServeLimits()
        limits.maximumConnections = 0
      }
    }

    @Test func tcpClientsAreServed() async throws {
      try await withDescriptorOracle { _ in
        let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
        let handler: @Sendable (TCPStream) async throws -> Void = { connection in
          for try await message in connection.messages {
            try await connection.sendMessage(message.payload)
          }
        }
        try await withServer(listener, handler: handler) { _ in
          let client = try await TCPStream.connect(to: listener.address)
          try await client.sendMessage([1, 2, 3])
          #expect(try await client.receiveMessage()?.payload == [1, 2, 3])
          await client.close()
        }
      }
    }

    @Test func handlersRunOnTheLoopsOfTheirConnections() async throws {
      let before = allDescriptors()
      try await {
        let group = try IOLoopGroup(count: 2)
        let address = try abstractAddress()
        let loops = Mutex<Set<ObjectIdentifier>>([])
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: address, on: group.loops[0], connectionsOn: group)
        let handler: @Sendable (UnixSeqpacket) async throws -> Void = { connection in
          #expect(connection.loop.isCurrent)
          #expect(IOLoop.current === connection.loop)
          loops.withLock { _ = $0.insert(ObjectIdentifier(connection.loop)) }
          try await echo(connection)
          #expect(connection.loop.isCurrent)
        }
        try await withServer(listener, handler: handler) { _ in
          for _ in 0..<4 {
            let client = try await UnixSeqpacket.connect(to: address, on: group.loops[0])
            try await client.sendMessage([1])
            _ = try await client.receiveMessage()
            await client.close()
          }
        }
        #expect(loops.withLock { $0.count } == 2)
        await group.shutdown()
      }()
      await untilOpenDescriptors(are: before)
    }

    /// Without a loop, connections are spread over all loops; with a loop, by argument or by
    /// running on it, they stay on it.
    @Test func connectionsAreSpreadWhereNoLoopIsNamed() async throws {
      // It lives as long as the process, with its descriptors.
      _ = try IOLoopGroup.shared()
      try await withDescriptorOracle { loop in
        try await Task.detached {
          let address = try abstractAddress()
          let listener = try UnixListener<UnixSeqpacket>.bind(to: address)
          #expect(listener.connectionGroup === (try IOLoopGroup.shared()))
          let tcp = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
          #expect(tcp.connectionGroup != nil)
          let copy = try TCPListener(adopting: try await tcp.duplicate())
          #expect(copy.connectionGroup != nil)
          #expect(
            try TCPListener.bind(to: InternetAddress(.loopback, port: 0), on: loop).connectionGroup
              == nil)
          #expect(
            try UnixListener<UnixStream>.bind(to: abstractAddress(), on: loop).connectionGroup
              == nil)
          var loops: Set<ObjectIdentifier> = []
          for _ in 0..<IOLoopGroup.defaultCount {
            // On a fixed loop, because otherwise clients would take every other turn.
            let client = try await UnixSeqpacket.connect(to: address, on: loop)
            let connection = try await listener.accept()
            loops.insert(ObjectIdentifier(connection.loop))
            await client.close()
            await connection.close()
          }
          #expect(loops.count == IOLoopGroup.defaultCount)
          await listener.close()
          await tcp.close()
          await copy.close()
        }.value
        #expect(try UnixListener<UnixSeqpacket>.bind(to: abstractAddress()).connectionGroup == nil)
      }
    }

    @Test func beyondTheLimitConnectionsWaitInTheKernel() async throws {
      try await withDescriptorOracle { loop in
        let address = try abstractAddress()
        let running = Mutex((now: 0, most: 0, total: 0))
        let handler: @Sendable (UnixStream) async throws -> Void = { connection in
          running.withLock {
            $0.now += 1
            $0.total += 1
            $0.most = max($0.most, $0.now)
          }
          defer { running.withLock { $0.now -= 1 } }
          _ = try await connection.receiveMessage()
        }
        try await withServer(
          try UnixListener<UnixStream>.bind(to: address), ServeLimits(maximumConnections: 3),
          handler: handler
        ) { _ in
          var clients: [UnixStream] = []
          for _ in 0..<12 { clients.append(try await UnixStream.connect(to: address)) }
          while running.withLock({ $0.now }) < 3 { await Task.yield() }
          for _ in 0..<1000 { await Task.yield() }
          #expect(running.withLock { $0.total } == 3)
          for client in clients { await client.close() }
          while running.withLock({ $0.total }) < 12 { await Task.yield() }
          #expect(running.withLock { $0.most } == 3)
        }
      }
    }

    @Test func aHandlersErrorIsReportedAndTheServerGoesOn() async throws {
      struct Rude: Error, Equatable {}
      try await withDescriptorOracle { _ in
        let address = try abstractAddress()
        let errors = Mutex<[any Error]>([])
        let handler: @Sendable (UnixStream) async throws -> Void = { connection in
          let message = try await connection.receiveMessage()
          if message?.payload == [0] { throw Rude() }
          // The error does not come from the end of this server, so it is reported like any other.
          if message?.payload == [1] { throw CancellationError() }
          try await connection.sendMessage([2])
        }
        let listener = try UnixListener<UnixStream>.bind(to: address)
        try await withServer(
          listener, onError: { error in errors.withLock { $0.append(error) } }, handler: handler
        ) { _ in
          for (request, answer) in [(0, nil), (1, nil), (2, [2])] as [(UInt8, [UInt8]?)] {
            let client = try await UnixStream.connect(to: address)
            try await client.sendMessage([request])
            #expect(try await client.receiveMessage()?.payload == answer)
          }
        }
        errors.withLock {
          #expect($0.count == 2)
          #expect($0.first is Rude)
          #expect($0.last is CancellationError)
        }
      }
    }

    @Test func handlersGoOnForTheGraceTime() async throws {
      try await withDescriptorOracle { _ in
        let address = try abstractAddress()
        let client = try await withServer(
          try UnixListener<UnixStream>.bind(to: address), ServeLimits(gracePeriod: .seconds(600)),
          handler: { try await answerTwo($0) }
        ) { server in
          let client = try await UnixStream.connect(to: address)
          try await client.sendMessage([1])
          #expect(try await client.receiveMessage()?.payload == [1])
          server.cancel()
          // It accepts no more connections immediately.
          while await codeThrown(by: { _ = try await UnixStream.connect(to: address) })
            != .connectionRefused
          { await Task.yield() }
          try await client.sendMessage([2])
          #expect(try await client.receiveMessage()?.payload == [2])
          return client
        }
        #expect(try await client.receiveMessage() == nil)
      }
    }

    @Test(arguments: [Duration.zero, .milliseconds(50)])
    func afterTheGraceTimeHandlersAreCancelled(grace: Duration) async throws {
      try await withDescriptorOracle { _ in
        let address = try abstractAddress()
        let cancelled = Mutex(0)
        let handler: @Sendable (UnixStream) async throws -> Void = { connection in
          do { try await answerTwo(connection) } catch is CancellationError {
            cancelled.withLock { $0 += 1 }
            throw CancellationError()
          }
        }
        let clock = ContinuousClock()
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let (client, stopped) = try await withServer(
          listener, ServeLimits(gracePeriod: grace),
          onError: { _ = Issue.record($0, "an unexpected error") }, handler: handler
        ) { server in
          let client = try await UnixStream.connect(to: address)
          try await client.sendMessage([1])
          _ = try await client.receiveMessage()
          server.cancel()
          return (client, clock.now)
        }
        #expect(clock.now - stopped >= grace)
        #expect(cancelled.withLock { $0 } == 1)
        #expect(try await client.receiveMessage() == nil)
      }
    }

    @Test func aCancelledTaskServesNobody() async throws {
      try await withDescriptorOracle { _ in
        let address = try abstractAddress()
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let client = try await UnixStream.connect(to: address)
        let task = Task {
          withUnsafeCurrentTask { $0?.cancel() }
          try await listener.serve { _ in Issue.record("served") }
        }
        try await task.value
        #expect(await codeThrown { _ = try await client.receiveMessage() } == .connectionReset)
      }
    }

    @Test func closingTheListenerEndsItAfterItsHandlers() async throws {
      try await withDescriptorOracle { _ in
        let address = try abstractAddress()
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let server = Task { try await listener.serve { try await answerTwo($0) } }
        let client = try await UnixStream.connect(to: address)
        try await client.sendMessage([1])
        _ = try await client.receiveMessage()
        await listener.close()
        try await client.sendMessage([2])
        #expect(try await client.receiveMessage()?.payload == [2])
        try await server.value
      }
    }

    @Test func theEndOfTheLoopIsAnErrorOnce() async throws {
      try await withOwnLoop { loop in
        let listener = try UnixListener<UnixStream>.bind(to: abstractAddress(), on: loop)
        let server = Task { try await listener.serve { _ in } }
        while await loop.operationsInKernel == 0 { await Task.yield() }
        await loop.shutdown()
        #expect(await codeThrown { try await server.value } == .loopShutDown)
      }
    }

    @Test func theConnectionIsClosedAfterItsHandlerWhoeverHoldsIt() async throws {
      try await withDescriptorOracle { _ in
        let address = try abstractAddress()
        let held = Mutex<[UnixStream]>([])
        let handler: @Sendable (UnixStream) async throws -> Void = { connection in
          held.withLock { $0.append(connection) }
        }
        try await withServer(try UnixListener<UnixStream>.bind(to: address), handler: handler) {
          _ in
          let client = try await UnixStream.connect(to: address)
          #expect(try await client.receiveMessage() == nil)
          #expect(held.withLock { $0.count } == 1)
        }
      }
    }

    @Test func aHandlerMayKeepItsConnection() async throws {
      try await withDescriptorOracle { loop in
        let address = try abstractAddress()
        let kept = Mutex<OwnedFd?>(nil)
        let handler: @Sendable (UnixStream) async throws -> Void = { connection in
          var descriptor: OwnedFd? = try await connection.release()
          kept.withLock { swap(&$0, &descriptor) }
        }
        let client = try await withServer(
          try UnixListener<UnixStream>.bind(to: address), handler: handler
        ) { _ in
          let client = try await UnixStream.connect(to: address)
          while kept.withLock({ $0 == nil }) { await Task.yield() }
          return client
        }
        guard let descriptor = kept.withLock({ $0.take() }) else {
          Issue.record("nothing was kept")
          return
        }
        let connection = try UnixStream(adopting: descriptor, on: loop)
        try await connection.sendMessage([9])
        #expect(try await client.receiveMessage()?.payload == [9])
      }
    }

    /// Wherever the cancellation strikes, every descriptor in flight closes.
    @Test func cancellationAtAnyMomentLeavesNothingOpen() async throws {
      try await withDescriptorOracle { loop in
        for round in 0..<150 {
          let address = try abstractAddress()
          let listener = try UnixListener<UnixSeqpacket>.bind(to: address)
          let server = Task(executorPreference: loop.taskExecutor) {
            try await listener.serve(
              ServeLimits(maximumConnections: 2, gracePeriod: .zero), handler: echo)
          }
          let clients = Task(executorPreference: loop.taskExecutor) {
            let file = try OwnedFd.numbered(round)
            for _ in 0..<4 {
              let client = try await UnixSeqpacket.connect(to: address)
              try await client.sendMessage([1], descriptor: file)
              try await client.sendMessage([2], descriptor: file)
            }
          }
          for _ in 0..<round { await Task.yield() }
          server.cancel()
          try await server.value
          _ = await clients.result
        }
      }
    }

    /// Serves while `body` runs, then cancels and waits for the end, which is no error.
    private func withServer<Listener: SocketListener, R: Sendable>(
      _ listener: Listener, _ limits: ServeLimits = ServeLimits(),
      onError: @escaping @Sendable (any Error) -> Void = { _ in },
      handler: @escaping @Sendable (Listener.Connection) async throws -> Void,
      _ body: (Task<Void, any Error>) async throws -> R
    ) async throws -> R {
      let server = Task { try await listener.serve(limits, onError: onError, handler: handler) }
      let result: R
      do { result = try await body(server) } catch {
        server.cancel()
        _ = await server.result
        throw error
      }
      server.cancel()
      try await server.value
      return result
    }
  }
}

/// Sends every message back, with its descriptors.
@Sendable private func echo(_ connection: UnixSeqpacket) async throws {
  for try await message in connection.messages {
    let descriptors = message.takeDescriptors()
    try await connection.sendMessage(message.payload, descriptors: descriptors.span)
  }
}

private func answerTwo(_ connection: UnixStream) async throws {
  for _ in 0..<2 {
    guard let message = try await connection.receiveMessage() else { return }
    try await connection.sendMessage(message.payload)
  }
}

private let addressCount = Atomic(0)

private func abstractAddress() throws -> UnixAddress {
  let number = addressCount.add(1, ordering: .relaxed).newValue
  return try UnixAddress(abstract: "message-sockets-serving-\(getpid())-\(number)")
}
