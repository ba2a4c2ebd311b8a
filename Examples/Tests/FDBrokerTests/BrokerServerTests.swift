// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

@testable import fd_broker

@Suite(.timeLimit(.minutes(1)))
struct BrokerServerTests {
  @Test func aMessageThatIsNoRequestGetsAnAnswerAndTheConnectionGoesOn() async throws {
    try await withServer { connect in
      let client = try await connect()
      for bytes in [
        [1], [0, 0, 0, 1], [0, 0, 0, 1, 0xFF], [UInt8](repeating: 65, count: 100_000),
      ] as [[UInt8]] {
        try await client.socket.sendMessage(bytes)
        let reply = try await Reply(decoding: client.receive().payload)
        #expect(reply?.status == .malformedRequest)
      }
      try await client.send(Request(number: 1, name: "file"))
      let message = try await client.receive()
      #expect(message.descriptorCount == 1)
      await client.socket.close()
    }
  }

  @Test func clientsThatVanishDisturbNobody() async throws {
    try await withServer { connect in
      for number in 0..<20 {
        let client = try await connect()
        try await client.send(Request(number: UInt32(number), name: "file"))
        await client.socket.close()
      }
      let client = try await connect()
      try await client.send(Request(number: 99, name: "sub/file"))
      let reply = try await Reply(decoding: client.receive().payload)
      #expect(reply == Reply(status: .opened, request: Request(number: 99, name: "sub/file")))
      await client.socket.close()
    }
  }

  @Test func stoppingClosesTheConnectionsOfIdleClients() async throws {
    var left: BrokerClient?
    try await withServer { connect in
      let client = try await connect()
      // The reply shows that the connection is being served.
      try await client.send(Request(number: 0, name: "missing"))
      _ = try await client.receive()
      left = client
    }
    let end = try await left?.socket.receiveMessage()
    #expect(end == nil)
    await left?.socket.close()
  }

  /// Serves a sample directory while `body` runs, then stops as the program does: by cancellation.
  private func withServer(_ body: (_ connect: () async throws -> BrokerClient) async throws -> Void)
    async throws
  {
    let sample = try SampleDirectory()
    defer { sample.remove() }
    let address = try UnixAddress(path: sample.socketPath)
    let listener = try UnixListener<UnixSeqpacket>.bind(to: address)
    let server = BrokerServer(listener: listener, directory: try ServedDirectory(sample.root))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await server.run() }
      try await body { BrokerClient(socket: try await .connect(to: address)) }
      group.cancelAll()
      try await #require(throws: CancellationError.self) { try await group.next() }
    }
    await listener.close()
  }
}
