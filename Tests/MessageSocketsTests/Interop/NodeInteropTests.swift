// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// Node's child_process, which passes handles over an inherited descriptor; the test is the
  /// parent process.
  @Suite(
    .enabled(if: ForeignPeer.node.isAvailable, "node is not installed"), .timeLimit(.minutes(1)))
  struct NodeInterop {
    @Test func socketsToNodeAndListenersFromThere() async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        let channel = NodeChannel(ours)
        var listeners: [TCPListener] = []
        try await runNode(try await theirs.release()) {
          for number in 0..<5 { try await giveSocket(number, to: channel) }
          try await channel.send(NodeChannel.Message(count: 3))
          for number in 0..<3 { listeners.append(try await receiveListener(number, from: channel)) }
          #expect(try await channel.isAtEnd())
          await channel.close()
        }

        // No other process listens there, so our listener answers.
        for listener in listeners {
          let client = try await TCPStream.connect(to: listener.address)
          let server = try await listener.accept()
          try await client.sendMessage([1])
          #expect(try await server.receiveMessage()?.payload == [1])
          await client.close()
          await server.close()
          await listener.close()
        }
      }
    }

    private func runNode(_ channel: consuming OwnedFd, _ body: () async throws -> Void) async throws
    {
      let number = channel.withUnsafeFileDescriptor { $0.rawValue }
      var channel = Optional(channel)
      let environment = ["NODE_CHANNEL_FD": "3", "NODE_CHANNEL_SERIALIZATION_MODE": "json"]
      try await ForeignPeer.node.run([], environment: environment, descriptors: [3: number]) { _ in
        // The child alone has the other end now: when the child ends, so does the channel.
        channel = nil
        try await body()
      }
      withExtendedLifetime(channel) {}
    }

    private func receiveListener(_ number: Int, from channel: NodeChannel) async throws
      -> TCPListener
    {
      let (message, box) = try await channel.receive("net.Server")
      #expect(message.name == "server \(number)")
      let descriptor = box.take()
      let inode = descriptor.identity.last
      #expect(inode == message.inode)
      let listener = try TCPListener(adopting: descriptor)
      #expect(listener.address.port == message.port)
      return listener
    }

    /// The other end of the socket proves where the socket went: Node answers on it, and closing it
    /// in Node ends it.
    private func giveSocket(_ number: Int, to channel: NodeChannel) async throws {
      let (here, there) = try UnixStream.makePair()
      try await channel.send(
        NodeChannel.Message(name: "socket \(number)"), try await there.release(), as: "net.Socket")
      var answer: [UInt8] = []
      while let message = try await here.receiveMessage() { answer += message.payload }
      #expect(String(decoding: answer, as: UTF8.self) == "got socket \(number)")
      await here.close()
    }
  }
}
