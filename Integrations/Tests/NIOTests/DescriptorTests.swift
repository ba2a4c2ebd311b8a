// SPDX-License-Identifier: Apache-2.0
import MessageSocketsNIO
import MessageSocketsTesting
import NIOCore
import NIOPosix
import Testing

/// Sockets that change hands by their descriptors alone.
@Suite(.serialized) struct DescriptorTests {
  @Test func aReleasedSocketServesInSwiftNIO() async throws {
    _ = try await MultiThreadedEventLoopGroup.singleton.next().submit {}.get()
    try await withDescriptorCheck {
      let (ours, theirs) = try UnixStream.makePair()
      let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .withConnectedSocket(try await theirs.release().release().rawValue).get()
      try await channel.writeAndFlush(ByteBuffer(string: "hello")).get()
      let message = try #require(try await ours.receiveMessage())
      #expect(message.payload == Array("hello".utf8))
      try await channel.close()
      await ours.close()
    }
  }
}
