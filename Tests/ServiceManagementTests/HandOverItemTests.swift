// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SharedMemory
import SystemPackage
import Testing

@testable import ServiceManagement

extension KernelTests {
  /// The other items for a successor: open connections, and state in sealed memory. Both
  /// generations run in this process.
  @Suite(.timeLimit(.minutes(1))) struct HandOverItemTests {
    /// A process that offers a session, and state in sealed memory. A request of the session's
    /// client is in flight while the connection changes hands.
    private func withOffer(
      takingBack: @escaping @Sendable (consuming HandOverItems) async -> Void = { _ in },
      _ body: (UnixAddress, UnixStream, Task<HandOver.Ending, any Error>) async throws -> Void
    ) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { loop in
          let (client, session) = try UnixStream.makePair()
          let first = try await HandOver.begin(at: UnixAddress(path: path))
          let running = Task(executorPreference: loop.taskExecutor) {
            try await first.run(
              offering: {
                var items = HandOverItems()
                let state = try SealedMemory(
                  copying: Array("two requests".utf8).span.bytes, name: "state")
                try items.descriptors.append(state.releaseDescriptor(), named: "state")
                try items.descriptors.append(try await session.release(), named: "session")
                return items
              }, takingBack: takingBack
            ) { announce in
              announce()
              try await loop.sleep(for: .seconds(1000))
            }
          }
          try await client.sendMessage(Array("hello".utf8))
          try await body(first.address, client, running)
          await client.close()
        }
      }
    }

    /// Answers one line of a client.
    private static func answer(_ session: UnixStream, as name: String) async throws {
      let request = try await session.receiveMessage()?.payload ?? []
      try await session.sendMessage(Array("\(name): ".utf8) + request)
    }

    private func text(_ client: UnixStream) async throws -> String {
      String(decoding: try await client.receiveMessage()?.payload ?? [], as: UTF8.self)
    }

    @Test func anOpenConnectionAndSealedStateGoToTheSuccessor() async throws {
      try await withOffer { address, client, running in
        let successor = try await HandOver.begin(at: address)
        var items = successor.takeInherited()
        #expect(items.descriptors.names == ["state", "session"])
        do {
          let state = try SealedMemory(
            adopting: try items.descriptors.takeDescriptor(named: "state"), atMost: 1000)
          let text = state.bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
          #expect(text == "two requests")
        }
        let taken: UnixStream = try items.descriptors.takeConnection(named: "session")
        let ending = try await successor.run {
          HandOverItems()
        } serving: { announce in
          announce()
          try await Self.answer(taken, as: "second")
          #expect(try await running.value == .replaced)
        }
        #expect(ending == .ended)
        #expect(try await text(client) == "second: hello")
        await taken.close()
        // No duplicate of it is open: the client finds the end.
        #expect(try await client.receiveMessage() == nil)
      }
    }

    @Test func aConnectionComesBackWhenTheSuccessorFails() async throws {
      try await withOffer { items in
        do {
          var items = items
          let session: UnixStream = try items.descriptors.takeConnection(named: "session")
          try await Self.answer(session, as: "first")
          await session.close()
        } catch { Issue.record("\(error)") }
      } _: { address, client, running in
        do {
          let failing = try await HandOver.begin(at: address)
          #expect(failing.takeInherited().descriptors.count == 2)
        }
        #expect(try await text(client) == "first: hello")
        #expect(try await client.receiveMessage() == nil)
        running.cancel()
        #expect(try await running.value == .ended)
      }
    }
  }
}
