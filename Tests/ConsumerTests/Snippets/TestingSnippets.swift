// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import MessageSocketsTesting
import Testing

/// The code examples in the guide on tests.
@Suite(.serialized) struct TestingSnippets {
  // begin TestingAHandler
  /// Decides, and knows no socket.
  static func reply(to request: ReceivedMessage) -> [UInt8] {
    guard request.descriptorCount == 1, let file = request.takeDescriptor() else {
      return Array("one file, please".utf8)
    }
    return Array(file.facts.kind == .regularFile ? "a file".utf8 : "something else".utf8)
  }

  /// Is what `serve` calls for each connection.
  static func handle(_ connection: UnixSeqpacket) async throws {
    for try await request in connection.messages {
      try await connection.sendMessage(reply(to: request))
    }
  }
  // end

  // begin TestingAHandler
  @Test func aFileIsRecognised() throws {
    var files = OwnedFds()
    files.append(
      OwnedFd(adopting: try FileDescriptor.open("/etc/passwd", .readOnly, options: .closeOnExec)))
    let request = ReceivedMessage.forTesting(Array("look".utf8), descriptors: files)
    #expect(Self.reply(to: request) == Array("a file".utf8))
  }

  @Test func aFileThatDidNotArriveIsAskedFor() {
    let request = ReceivedMessage.forTesting(
      Array("look".utf8), outcome: .forTesting(controlTruncation: .outOfDescriptors))
    #expect(Self.reply(to: request) == Array("one file, please".utf8))
  }
  // end

  // begin TestingAHandler
  @Test func descriptorsThatNobodyWantsAreClosed() async throws {
    try await withDescriptorCheck {
      let (client, server) = try UnixSeqpacket.makePair()
      let serving = Task { try await Self.handle(server) }
      try await client.sendDescriptors(253)
      let answer = try await client.receiveMessage()
      #expect(answer?.payload == Array("one file, please".utf8))
      await client.close()
      try await serving.value
      await server.close()
    }
  }
  // end

  @Test func aPeerThatResets() async throws {
    let (client, server) = try UnixSeqpacket.makePair()
    // begin TestingAHandler
    let serving = Task { try await Self.handle(server) }
    try await client.resetConnection(of: server)
    await #expect(throws: SocketError.self) { try await serving.value }
    // end
    await server.close()
  }

  @Test func aShortageOfDescriptors() async throws {
    let (client, server) = try UnixSeqpacket.makePair()
    // begin TestingAHandler
    try await client.sendDescriptors(3)
    try await withFreeDescriptors(1) {
      do { _ = try await server.receiveMessage() } catch let error as SocketError {
        #expect(error.outcome?.controlTruncation == .outOfDescriptors)
        #expect(error.message?.descriptorCount == 1)
      }
    }
    // end
    await client.close()
    await server.close()
  }
}
