// SPDX-License-Identifier: Apache-2.0
import Logging
import MessageSocketsLifecycle
import MessageSocketsTesting
import Synchronization
import SystemPackage
import Testing

/// Services in a group of this process. The tests compare the descriptors of the whole process.
@Suite(.serialized, .timeLimit(.minutes(2))) enum LifecycleTests {}

let quietLogger = Logger(label: "tests") { _ in SwiftLogNoOpLogHandler() }

/// Runs `body` beside a group with these services, which then shuts down gracefully, and returns
/// without an error.
func withGroup(
  _ services: [any Service], _ body: (ServiceGroup) async throws -> Void
) async throws {
  let group = ServiceGroup(services: services, logger: quietLogger)
  let running = Task { try await group.run() }
  do {
    try await body(group)
  } catch {
    running.cancel()
    _ = await running.result
    throw error
  }
  await group.triggerGracefulShutdown()
  try await running.value
}

extension UnixSeqpacket {
  nonisolated func ask(_ question: String) async throws -> String? {
    try await sendMessage(Array(question.utf8))
    return try await receiveText()
  }

  nonisolated func receiveText() async throws -> String? {
    try await receiveMessage(deadline: .now + .seconds(60)).map {
      String(decoding: $0.payload, as: UTF8.self)
    }
  }
}

/// An address that no other test uses.
func uniqueAddress(_ name: String) throws -> UnixAddress {
  struct Counter { static let next = Atomic(0) }
  let number = Counter.next.add(1, ordering: .relaxed).newValue
  return try UnixAddress(abstract: "lifecycle-\(name)-\(ProcessID.own)-\(number)")
}

extension LifecycleTests {
  @Suite struct ListenerServiceTests {
    /// Idle connections end, a message that is being answered is answered, new ones are refused.
    @Test func shutdownEndsIdleConnectionsAndFinishesBusyOnes() async throws {
      try await withDescriptorCheck {
        let listener = try UnixListener<UnixSeqpacket>.bind(to: uniqueAddress("idle"))
        let (begun, begin) = AsyncStream.makeStream(of: Void.self)
        let (finished, finish) = AsyncStream.makeStream(of: Void.self)
        let service = ListenerService(listener) { message, connection in
          if message.payload == Array("slow".utf8) {
            begin.yield()
            for await _ in finished {}
          }
          try await connection.sendMessage(message.payload)
        }
        var clients: [UnixSeqpacket] = []
        try await withGroup([service]) { group in
          for _ in 0..<10 {
            let client = try await UnixSeqpacket.connect(to: listener.address)
            #expect(try await client.ask("hello") == "hello")
            clients.append(client)
          }
          let busy = clients[0]
          try await busy.sendMessage(Array("slow".utf8))
          for await _ in begun { break }
          await group.triggerGracefulShutdown()
          for client in clients.dropFirst() { #expect(try await client.receiveText() == nil) }
          // The connections drain just before the listener closes.
          await #expect {
            while true { await (try await UnixSeqpacket.connect(to: listener.address)).close() }
          } throws: {
            ($0 as? SocketError)?.code == .connectionRefused
          }
          finish.finish()
          #expect(try await busy.receiveText() == "slow")
          #expect(try await busy.receiveText() == nil)
        }
        for client in clients { await client.close() }
      }
    }

    /// A handler that waits for something else is cancelled after the grace period.
    @Test(arguments: [false, true]) func theGracePeriod(cancelsTheGroup: Bool) async throws {
      try await withDescriptorCheck {
        let listener = try UnixListener<UnixSeqpacket>.bind(to: uniqueAddress("grace"))
        let wasCancelled = Atomic(false)
        let service = ListenerService(
          listener, limits: ServeLimits(gracePeriod: .milliseconds(1))
        ) { connection in
          try await connection.sendMessage([1])
          do {
            try await Task.sleep(for: .seconds(1000))
          } catch {
            wasCancelled.store(true, ordering: .releasing)
            throw error
          }
        }
        let group = ServiceGroup(services: [service], logger: quietLogger)
        let running = Task { try await group.run() }
        let client = try await UnixSeqpacket.connect(to: listener.address)
        #expect(try await client.receiveText() != nil)
        if cancelsTheGroup {
          running.cancel()
        } else {
          await group.triggerGracefulShutdown()
        }
        _ = await running.result
        let isCancelled = wasCancelled.load(ordering: .acquiring)
        #expect(isCancelled)
        #expect(try await client.receiveText() == nil)
        await client.close()
      }
    }

    /// What one handler throws is its connection's end only.
    @Test func aHandlerThatThrows() async throws {
      struct Broken: Error {}
      try await withDescriptorCheck {
        let listener = try UnixListener<UnixSeqpacket>.bind(to: uniqueAddress("throws"))
        let errors = Atomic(0)
        let service = ListenerService(
          listener,
          onError: { if $0 is Broken { errors.add(1, ordering: .relaxed) } }
        ) { (message: ReceivedMessage, connection: UnixSeqpacket) in
          if message.payload == Array("break".utf8) { throw Broken() }
          try await connection.sendMessage(message.payload)
        }
        try await withGroup([service]) { _ in
          let first = try await UnixSeqpacket.connect(to: listener.address)
          #expect(try await first.ask("break") == nil)
          let second = try await UnixSeqpacket.connect(to: listener.address)
          #expect(try await second.ask("hello") == "hello")
          await first.close()
          await second.close()
        }
        let count = errors.load(ordering: .acquiring)
        #expect(count == 1)
      }
    }

    /// A listener that other code closes ends its group, as a service that ends too early.
    @Test func aListenerThatIsClosed() async throws {
      try await withDescriptorCheck {
        let listener = try UnixListener<UnixSeqpacket>.bind(to: uniqueAddress("closed"))
        await listener.close()
        let service = ListenerService(listener) { (_: UnixSeqpacket) in }
        await #expect(throws: ServiceGroupError.self) {
          try await ServiceGroup(services: [service], logger: quietLogger).run()
        }
      }
    }
  }

  @Suite struct ManagerServiceTests {
    @Test func readyAndStopping() async throws {
      try await withDescriptorCheck {
        let address = try uniqueAddress("notify")
        let manager = try await NotifySocket.bind(to: address)
        let notifier = ServiceNotifier(to: address)
        let services: [any Service] = [
          WatchdogService(notifier), ReadinessService(notifier, status: "well"),
        ]
        try await withGroup(services) { _ in
          let ready = try await manager.receive()
          #expect(ready.isReady && ready.status == "well")
        }
        let stopping = try await manager.receive()
        #expect(stopping.isStopping)
        await manager.close()
      }
    }

    /// A group that is cancelled tells it, too.
    @Test func cancelled() async throws {
      try await withDescriptorCheck {
        let address = try uniqueAddress("cancelled")
        let manager = try await NotifySocket.bind(to: address)
        let service = ReadinessService(ServiceNotifier(to: address))
        let running = Task {
          try await ServiceGroup(services: [service], logger: quietLogger).run()
        }
        #expect(try await manager.receive().isReady)
        running.cancel()
        #expect(try await manager.receive().isStopping)
        _ = await running.result
        await manager.close()
      }
    }

    /// No manager: the services wait for the shutdown.
    @Test func withoutAManager() async throws {
      try await withDescriptorCheck {
        let listener = try UnixListener<UnixSeqpacket>.bind(to: uniqueAddress("alone"))
        let services: [any Service] = [
          WatchdogService(),
          ListenerService(listener) { message, connection in
            try await connection.sendMessage(message.payload)
          },
          ReadinessService(),
        ]
        try await withGroup(services) { _ in
          let client = try await UnixSeqpacket.connect(to: listener.address)
          #expect(try await client.ask("hello") == "hello")
          await client.close()
        }
      }
    }

    /// A manager that cannot be told that the process is ready ends the group, with the reason.
    @Test func aManagerThatIsGone() async throws {
      try await withDescriptorCheck {
        let service = ReadinessService(ServiceNotifier(to: try uniqueAddress("gone")))
        await #expect {
          try await ServiceGroup(services: [service], logger: quietLogger).run()
        } throws: { ($0 as? SocketError)?.code == .connectionRefused }
      }
    }
  }
}
