// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSocketsNIO
import MessageSocketsTesting
import NIOCore
import NIOEmbedded
import NIOPosix
import Synchronization
import SystemPackage
import Testing

/// Connections and listeners of SwiftNIO that this package goes on with.
@Suite(.serialized, .timeLimit(.minutes(1))) struct TakingTests {
  // MARK: What succeeds

  @Test func whatWasNotReadComesToTheNewOwner() async throws {
    try await withConnection(autoRead: false) { channel, peer in
      try await peer.sendMessage(Array("unread".utf8))
      let socket = try TCPStream(adopting: try await channel.takeDescriptor())
      #expect(!channel.isActive)
      #expect(try await receive(6, from: socket) == Array("unread".utf8))
      // The connection goes on, in both directions.
      try await socket.sendMessage([1])
      #expect(try await receive(1, from: peer) == [1])
      try await peer.sendMessage([2])
      #expect(try await receive(1, from: socket) == [2])
      await socket.close()
      #expect(try await peer.receiveMessage() == nil)
    }
  }

  /// The descriptor is not blocking, which must not make a receive fail that has to wait.
  @Test func theNewOwnerWaitsForMessages() async throws {
    try await withConnection(autoRead: false) { channel, peer in
      let descriptor = try await channel.takeDescriptor()
      let flags = (isNonBlocking(descriptor), isCloseOnExec(descriptor))
      #expect(flags == (true, true))
      let socket = try TCPStream(adopting: descriptor)
      let before = await socket.loop.statistics.submissions
      async let received = receive(3, from: socket)
      // On epoll nothing is submitted until the socket is found empty, either.
      while await socket.loop.statistics.submissions == before { await Task.yield() }
      try await peer.sendMessage([1, 2, 3])
      #expect(try await received == [1, 2, 3])
      await socket.close()
    }
  }

  /// A read that was asked for and has found nothing takes no byte with it.
  @Test func aReadThatWaitsTakesNothing() async throws {
    try await withConnection(autoRead: false) { channel, peer in
      channel.read()
      try await channel.eventLoop.submit {}.get()
      let socket = try TCPStream(adopting: try await channel.takeDescriptor())
      try await peer.sendMessage([1, 2, 3])
      #expect(try await receive(3, from: socket) == [1, 2, 3])
      await socket.close()
    }
  }

  @Test func whatSwiftNIOHasReadIsNotGivenBack() async throws {
    try await withConnection(autoRead: true) { channel, peer in
      // The answer shows that SwiftNIO has read it.
      try await peer.sendMessage(Array("first".utf8))
      #expect(try await receive(5, from: peer) == Array("first".utf8))
      let socket = try TCPStream(adopting: try await channel.takeDescriptor())
      try await peer.sendMessage(Array("second".utf8))
      #expect(try await receive(6, from: socket) == Array("second".utf8))
      await socket.close()
    }
  }

  @Test func aListenerGoesOn() async throws {
    try await withCheck {
      let channel = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
      let listener = try TCPListener(adopting: try await channel.takeDescriptor())
      let address = try #require(try await listener.localAddress()?.internet)
      let client = try await TCPStream.connect(to: address)
      let accepted = try await listener.accept()
      try await client.sendMessage([7])
      #expect(try await receive(1, from: accepted) == [7])
      for socket in [client, accepted] { await socket.close() }
      await listener.close()
    }
  }

  @Test func aConnectionGoesToAndFro() async throws {
    try await withCheck {
      var (peer, socket) = try await makeTCPPair()
      for number in 0..<50 {
        try await peer.sendMessage([UInt8(number)])
        let channel = try await ClientBootstrap.adopting(
          socket, on: group, configure: { $0.channelOption(.autoRead, value: false) }
        ) { $0 }
        socket = try TCPStream(adopting: try await channel.takeDescriptor())
        #expect(try await receive(1, from: socket) == [UInt8(number)])
      }
      for socket in [peer, socket] { await socket.close() }
    }
  }

  /// A handler that says goodbye when its channel closes must not say it to a connection that goes
  /// on; one that never lets the close pass must not hold it up.
  @Test func handlersDoNotSeeTheClose() async throws {
    try await withConnection(autoRead: false) { channel, peer in
      let handler = Farewell()
      try await channel.pipeline.addHandler(handler)
      let socket = try TCPStream(adopting: try await channel.takeDescriptor())
      try await channel.closeFuture.get()
      #expect(handler.events.withLock { $0 } == ["inactive"])
      try await socket.sendMessage([1])
      #expect(try await receive(1, from: peer) == [1])
      await socket.close()
      #expect(try await peer.receiveMessage() == nil)
    }
  }

  // MARK: What fails

  @Test func unsentBytesStay() async throws {
    try await withConnection(autoRead: false) { channel, peer in
      // More than the buffers of both sides can hold.
      let count = 32 << 20
      let written = channel.eventLoop.makePromise(of: Void.self)
      channel.writeAndFlush(ByteBuffer(repeating: 1, count: count), promise: written)
      try await channel.eventLoop.submit {}.get()
      #expect(await codeThrown { _ = try await channel.takeDescriptor() } == .bytesUnsent)
      #expect(channel.isActive)
      #expect(try await receive(count, from: peer).count == count)
      try await written.futureResult.get()
      let socket = try TCPStream(adopting: try await channel.takeDescriptor())
      await socket.close()
    }
  }

  @Test func bytesThatWereNotFlushedStay() async throws {
    try await withConnection(autoRead: false) { channel, peer in
      let written = channel.eventLoop.makePromise(of: Void.self)
      channel.write(ByteBuffer(string: "later"), promise: written)
      #expect(await codeThrown { _ = try await channel.takeDescriptor() } == .bytesUnsent)
      channel.flush()
      try await written.futureResult.get()
      let socket = try TCPStream(adopting: try await channel.takeDescriptor())
      #expect(try await receive(5, from: peer) == Array("later".utf8))
      await socket.close()
    }
  }

  @Test func aChannelThatIsClosed() async throws {
    try await withConnection(autoRead: false) { channel, peer in
      try await channel.close()
      #expect(await codeThrown { _ = try await channel.takeDescriptor() } == .channelClosed)
    }
  }

  /// Of a close and two takers, one gets the descriptor.
  @Test func aChannelThatIsClosedMeanwhile() async throws {
    try await withCheck {
      var taken = 0
      for _ in 0..<100 {
        let (peer, socket) = try await makeTCPPair()
        let channel = try await ClientBootstrap.adopting(socket, on: group) { $0 }
        let numbers = await withTaskGroup(of: Int.self) { tasks in
          for _ in 0..<2 {
            tasks.addTask {
              do {
                let socket = try TCPStream(adopting: try await channel.takeDescriptor())
                await socket.close()
                return 1
              } catch {
                #expect((error as? NIOHandOverError)?.code == .channelClosed)
                return 0
              }
            }
          }
          tasks.addTask {
            try? await channel.close()
            return 0
          }
          return await tasks.reduce(0, +)
        }
        #expect(numbers <= 1)
        taken += numbers
        #expect(try await peer.receiveMessage() == nil)
        await peer.close()
      }
      // Otherwise the test would show nothing.
      #expect(taken > 0)
    }
  }

  @Test func channelsWithoutASocket() async throws {
    try await withCheck {
      let embedded = EmbeddedChannel()
      #expect(await codeThrown { _ = try await embedded.takeDescriptor() } == .unsupportedChannel)
      _ = try? embedded.finish()
      let pipe = try FileDescriptor.pipe(options: .closeOnExec)
      let channel = try await NIOPipeBootstrap(group: group)
        .takingOwnershipOfDescriptors(
          input: pipe.readEnd.rawValue, output: pipe.writeEnd.rawValue
        ).get()
      #expect(await codeThrown { _ = try await channel.takeDescriptor() } == .unsupportedChannel)
      #expect(channel.isActive)
      try await channel.close()
    }
  }

  @Test func anEventLoopThatHasShutDown() async throws {
    try await withCheck {
      let own = MultiThreadedEventLoopGroup(numberOfThreads: 1)
      let (ours, theirs) = try UnixStream.makePair()
      let channel = try await ClientBootstrap.adopting(theirs, on: own) { $0 }
      try await own.shutdownGracefully()
      #expect(await codeThrown { _ = try await channel.takeDescriptor() } == .eventLoopShutDown)
      #expect(try await ours.receiveMessage() == nil)
      await ours.close()
    }
  }

  @Test func noDescriptorIsFree() async throws {
    try await withConnection(autoRead: false) { channel, peer in
      try await withFreeDescriptors(0) {
        #expect(await codeThrown { _ = try await channel.takeDescriptor() } == .outOfDescriptors)
      }
      #expect(channel.isActive)
      let socket = try TCPStream(adopting: try await channel.takeDescriptor())
      await socket.close()
    }
  }

  // MARK: Helpers

  /// A TCP connection between a channel, which echoes what it reads, and a socket of this package.
  private func withConnection(
    autoRead: Bool, _ body: (any Channel, TCPStream) async throws -> Void
  ) async throws {
    try await withCheck {
      let (peer, socket) = try await makeTCPPair()
      let channel = try await ClientBootstrap.adopting(
        socket, on: group, configure: { $0.channelOption(.autoRead, value: autoRead) }
      ) { channel in
        try channel.pipeline.syncOperations.addHandler(Echo())
        return channel
      }
      try await body(channel, peer)
      try? await channel.close()
      await peer.close()
    }
  }
}

/// Writes a farewell when it is asked to close, and never closes.
private final class Farewell: ChannelDuplexHandler, Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer

  let events = Mutex<[String]>([])

  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    events.withLock { $0.append("close") }
    context.writeAndFlush(NIOAny(ByteBuffer(string: "farewell")), promise: promise)
  }

  func channelInactive(context: ChannelHandlerContext) {
    events.withLock { $0.append("inactive") }
    context.fireChannelInactive()
  }
}
