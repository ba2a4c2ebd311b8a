// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSocketsNIO
import MessageSocketsTesting
import NIOCore
import NIOEmbedded
import NIOPosix
import SystemPackage
import Testing

/// Sockets of this package that SwiftNIO goes on with. After each failure the descriptor is closed
/// once: the peer finds the end, and no other descriptor is closed.
@Suite(.serialized, .timeLimit(.minutes(1))) struct GivingTests {
  struct Refusal: Error {}

  // MARK: What succeeds

  @Test func aUnixStreamIsServed() async throws {
    try await withCheck {
      let (ours, theirs) = try UnixStream.makePair()
      try await echoes(ours, theirs)
    }
  }

  @Test func aTCPStreamIsServed() async throws {
    try await withCheck {
      let (ours, theirs) = try await makeTCPPair()
      try await echoes(ours, theirs)
    }
  }

  private func echoes(_ ours: some StreamSocket, _ theirs: some StreamSocket) async throws {
    // These bytes wait in the kernel when the socket changes hands.
    try await ours.sendMessage(Array("before ".utf8))
    let channel = try await ClientBootstrap.adopting(theirs, on: group) { channel in
      try channel.pipeline.syncOperations.addHandler(Echo())
      return channel
    }
    try await ours.sendMessage(Array("after".utf8))
    #expect(try await receive(12, from: ours) == Array("before after".utf8))
    #expect(channel.isActive)
    try await channel.close()
    #expect(try await ours.receiveMessage() == nil)
    await ours.close()
  }

  /// A process of another user, or an older one, has sent the connection.
  @Test func aReceivedDescriptorIsServed() async throws {
    try await withCheck {
      let (broker, worker) = try UnixSeqpacket.makePair()
      let (client, accepted) = try await makeTCPPair()
      let descriptor = try await accepted.release()
      try await broker.sendMessage([0], descriptor: descriptor)
      _ = consume descriptor
      let message = try #require(try await worker.receiveMessage())
      guard let received = message.takeDescriptor() else {
        Issue.record("no descriptor")
        return
      }
      let channel = try await ClientBootstrap.adopting(received, on: group) { channel in
        try channel.pipeline.syncOperations.addHandler(Echo())
        return channel
      }
      try await client.sendMessage([1, 2, 3])
      #expect(try await receive(3, from: client) == [1, 2, 3])
      try await channel.close()
      for socket in [broker, worker] { await socket.close() }
      await client.close()
    }
  }

  @Test func anAsynchronousChannelIsWrappedBeforeItsFirstByte() async throws {
    try await withCheck {
      let (ours, theirs) = try UnixStream.makePair()
      try await ours.sendMessage([1, 2, 3])
      let channel = try await ClientBootstrap.adopting(theirs, on: group) { channel in
        try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
      }
      try await channel.executeThenClose { inbound, outbound in
        for try await bytes in inbound {
          try await outbound.write(bytes)
          break
        }
      }
      #expect(try await receive(3, from: ours) == [1, 2, 3])
      await ours.close()
    }
  }

  @Test func aListenerIsServedWithItsBacklog() async throws {
    try await withCheck {
      let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
      let address = try #require(try await listener.localAddress()?.internet)
      // This connection waits in the backlog when the listener changes hands.
      let first = try await TCPStream.connect(to: address)
      let channel = try await ServerBootstrap.adopting(listener, on: group) {
        $0.childChannelInitializer { child in
          child.eventLoop.makeCompletedFuture {
            try child.pipeline.syncOperations.addHandler(Echo())
          }
        }
      }
      let second = try await TCPStream.connect(to: address)
      for client in [first, second] {
        try await client.sendMessage([1, 2, 3])
        #expect(try await receive(3, from: client) == [1, 2, 3])
        await client.close()
      }
      try await channel.close()
    }
  }

  @Test func aUnixListenerKeepsItsFile() async throws {
    try await withCheck {
      let path = "/tmp/message-sockets-nio-\(getpid()).sock"
      defer { unsafe unlink(path) }
      let listener = try UnixListener<UnixStream>.bind(to: UnixAddress(path: FilePath(path)))
      let channel = try await ServerBootstrap.adopting(listener, on: group) {
        $0.childChannelInitializer { child in
          child.eventLoop.makeCompletedFuture {
            try child.pipeline.syncOperations.addHandler(Echo())
          }
        }
      }
      let client = try await UnixStream.connect(to: UnixAddress(path: FilePath(path)))
      try await client.sendMessage([1])
      #expect(try await receive(1, from: client) == [1])
      await client.close()
      try await channel.close()
      unsafe #expect(access(path, F_OK) == 0)
    }
  }

  /// `O_NONBLOCK` belongs to the open file, which the sender of a descriptor may share.
  @Test func swiftNIOSetsTheFlagOfTheOpenFile() async throws {
    try await withCheck {
      let (ours, theirs) = try UnixStream.makePair()
      let descriptor = try await theirs.release()
      let shared = try descriptor.duplicate()
      let wasSet = isNonBlocking(shared)
      #expect(!wasSet)
      let channel = try await ClientBootstrap.adopting(descriptor, on: group)
      let isSet = isNonBlocking(shared)
      #expect(isSet)
      try await channel.close()
      await ours.close()
    }
  }

  // MARK: What fails before SwiftNIO sees it

  @Test func whatIsNoConnectedStreamIsRefused() async throws {
    try await withCheck {
      let pipe = try FileDescriptor.pipe(options: .closeOnExec)
      let reader = OwnedFd(adopting: pipe.readEnd)
      #expect(await giving(OwnedFd(adopting: pipe.writeEnd)) == .wrongSocketKind)
      // The only writer is gone.
      var byte: UInt8 = 0
      #expect(reader.withUnsafeFileDescriptor { unsafe read($0.rawValue, &byte, 1) } == 0)

      let (seqpacket, itsPeer) = try UnixSeqpacket.makePair()
      #expect(await giving(try await seqpacket.release()) == .wrongSocketKind)
      #expect(try await itsPeer.receiveMessage() == nil)
      await itsPeer.close()

      let datagram = try await UDPSocket.bind(to: InternetAddress(.loopback, port: 0)).release()
      #expect(await giving(datagram) == .wrongSocketKind)
      let listener = try await TCPListener.bind(to: InternetAddress(.loopback, port: 0)).release()
      #expect(await giving(listener) == .wrongSocketKind)
      let lonely = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
      #expect(
        await giving(OwnedFd(adopting: FileDescriptor(rawValue: lonely))) == .notConnected)
    }
  }

  @Test func whatIsNoStreamListenerIsRefused() async throws {
    try await withCheck {
      let (ours, theirs) = try UnixStream.makePair()
      #expect(await givingListener(try await theirs.release()) == .wrongSocketKind)
      #expect(try await ours.receiveMessage() == nil)
      await ours.close()
      let name = Array("message-sockets-nio-\(getpid())".utf8)
      let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(abstract: name))
      #expect(
        await codeThrown { _ = try await ServerBootstrap.adopting(listener, on: group) { $0 } }
          == .wrongSocketKind)
    }
  }

  @Test func anEventLoopThatIsNotNIOPosixIsRefused() async throws {
    try await withCheck {
      let (ours, theirs) = try UnixStream.makePair()
      let loop = NIOAsyncTestingEventLoop()
      #expect(await giving(try await theirs.release(), on: loop) == .unsupportedEventLoop)
      #expect(try await ours.receiveMessage() == nil)
      await ours.close()
      await loop.shutdownGracefully()
    }
  }

  @Test func aSocketThatWasClosedIsNotReleased() async throws {
    try await withCheck {
      let (ours, theirs) = try UnixStream.makePair()
      await theirs.close()
      await #expect {
        _ = try await ClientBootstrap.adopting(theirs, on: group) { $0 }
      } throws: { error in
        let error = error as? NIOHandOverError
        return error?.code == .notReleased
          && (error?.underlying as? SocketError)?.code == .closed
      }
      await ours.close()
    }
  }

  /// Messages that were received ahead cannot go back into the kernel: the socket stays ours.
  @Test func aSocketWithUnreadMessagesStays() async throws {
    try await withCheck {
      let (ours, theirs) = try UnixStream.makePair()
      guard theirs.loop.driver.receivesStreamsAhead else {
        for socket in [ours, theirs] { await socket.close() }
        return
      }
      var iterator = theirs.messages.makeAsyncIterator()
      try await ours.sendMessage([0])
      #expect(try await iterator.next()?.payload == [0])
      let before = await theirs.loop.statistics.messagesReceived
      try await ours.sendMessage([1])
      while await theirs.loop.statistics.messagesReceived == before { await Task.yield() }
      #expect(
        await codeThrown { _ = try await ClientBootstrap.adopting(theirs, on: group) { $0 } }
          == .notReleased)
      #expect(try await iterator.next()?.payload == [1])
      for socket in [ours, theirs] { await socket.close() }
    }
  }

  // MARK: What fails in SwiftNIO

  @Test func anInitializerThatThrows() async throws {
    try await fails(with: .initializerFailed) { _ in throw Refusal() }
  }

  /// SwiftNIO alone would end the process here, in debug builds.
  @Test func aChannelThatIsClosedByItsInitializer() async throws {
    try await fails(with: .channelFailed) { $0.close(promise: nil) }
  }

  @Test func anOptionThatTheSocketDoesNotHave() async throws {
    try await fails(
      with: .channelFailed,
      configure: {
        $0.channelOption(.socketOption(.init(rawValue: 9999)), value: 1)
      }
    ) { _ in }
  }

  /// SwiftNIO alone would never answer, or end the process in debug builds.
  @Test func anEventLoopThatHasShutDown() async throws {
    try await withCheck {
      let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
      try await group.shutdownGracefully()
      let (ours, theirs) = try UnixStream.makePair()
      #expect(await giving(try await theirs.release(), on: group) == .eventLoopShutDown)
      #expect(try await ours.receiveMessage() == nil)
      await ours.close()
      let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
      let descriptor = try await listener.release()
      #expect(await givingListener(descriptor, on: group) == .eventLoopShutDown)
    }
  }

  /// The event loop shuts down before, while, and after it is given a socket.
  @Test func anEventLoopThatShutsDownMeanwhile() async throws {
    try await withCheck {
      for _ in 0..<50 {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let (ours, theirs) = try UnixStream.makePair()
        let descriptor = try await theirs.release()
        async let shutDown: Void = group.shutdownGracefully()
        let code = await giving(descriptor, on: group)
        try await shutDown
        #expect([nil, .eventLoopShutDown, .channelFailed].contains(code))
        #expect(try await ours.receiveMessage() == nil)
        await ours.close()
      }
    }
  }

  @Test func aListenerWhoseInitializerThrows() async throws {
    try await withCheck {
      let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
      let address = try #require(try await listener.localAddress()?.internet)
      let descriptor = try await listener.release()
      var thrown: NIOHandOverError.Code?
      do throws(NIOHandOverError) {
        try await ServerBootstrap.adopting(descriptor, on: group, configure: { $0 }) { _ in
          throw Refusal()
        }
      } catch { thrown = error.code }
      #expect(thrown == .initializerFailed)
      try await stillClosesNothingElse()
      await #expect(throws: SocketError.self) { try await TCPStream.connect(to: address) }
    }
  }

  // MARK: Helpers

  private func giving(
    _ descriptor: consuming OwnedFd, on group: any EventLoopGroup = group
  ) async -> NIOHandOverError.Code? {
    do {
      _ = try await ClientBootstrap.adopting(descriptor, on: group)
      return nil
    } catch { return error.code }
  }

  private func givingListener(
    _ descriptor: consuming OwnedFd, on group: any EventLoopGroup = group
  ) async -> NIOHandOverError.Code? {
    do {
      _ = try await ServerBootstrap.adopting(descriptor, on: group) { $0 }
      return nil
    } catch { return error.code }
  }

  private func fails(
    with code: NIOHandOverError.Code,
    configure: @escaping @Sendable (ClientBootstrap) -> ClientBootstrap = { $0 },
    initialize: @escaping @Sendable (any Channel) throws -> Void
  ) async throws {
    try await withCheck {
      let (ours, theirs) = try UnixStream.makePair()
      let descriptor = try await theirs.release()
      var thrown: NIOHandOverError.Code?
      do throws(NIOHandOverError) {
        try await ClientBootstrap.adopting(
          descriptor, on: group, configure: configure, initialize: initialize)
      } catch { thrown = error.code }
      #expect(thrown == code)
      try await stillClosesNothingElse()
      #expect(try await ours.receiveMessage() == nil)
      await ours.close()
    }
  }

  /// A second close of a descriptor would close one that took its number meanwhile.
  private func stillClosesNothingElse() async throws {
    let files = try (0..<20).map { _ in
      try FileDescriptor.open(FilePath("/dev/null"), .readOnly, options: .closeOnExec)
    }
    for loop in group.makeIterator() { for _ in 0..<3 { try await loop.submit {}.get() } }
    for file in files { try file.close() }
  }
}
