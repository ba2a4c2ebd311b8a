import Glibc
import MessageSockets
import SystemPackage
import Testing

/// The code of the error that `body` throws; nil if it throws nothing, or another kind of error.
func codeThrown(by body: () async throws -> Void) async -> SocketError.Code? { await errorThrown(by: body)?.code }

func errorThrown(by body: () async throws -> Void) async -> SocketError? {
  do {
    try await body()
    return nil
  } catch { return error as? SocketError }
}

extension KernelTests {
  /// Bad input gets a typed error, nothing is sent, nothing leaks, and the socket goes on.
  @Suite struct Errors {
    private func expectError<Socket: UnixConnection>(
      _ code: SocketError.Code, on _: Socket.Type, sourceLocation: SourceLocation = #_sourceLocation,
      _ body: (Socket) async throws -> Void
    ) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try Socket.makePair()
        let thrown = await codeThrown { try await body(left) }
        #expect(thrown == code, sourceLocation: sourceLocation)
        try await left.sendMessage([42])
        #expect(try await right.receiveMessage()?.payload == [42], sourceLocation: sourceLocation)
      }
    }

    @Test func anEmptyStreamPayloadWithADescriptor() async throws {
      try await expectError(.emptyPayload, on: UnixStream.self) { try await $0.sendMessage([], descriptor: try .numbered(1)) }
    }

    @Test func moreThan253Descriptors() async throws {
      try await expectError(.tooManyDescriptors, on: UnixStream.self) { socket in
        var many = OwnedFds()
        let file = try OwnedFd.numbered(1)
        for _ in 0..<254 { many.append(try file.duplicate()) }
        try await socket.sendMessage([1], descriptors: many.span)
      }
    }

    @Test(arguments: [0, 1, 2])
    func aClosedDescriptorAnywhereInTheList(position: Int) async throws {
      try await expectError(.badDescriptor, on: UnixStream.self) { socket in
        var list = OwnedFds()
        for index in 0..<3 { list.append(index == position ? OwnedFd(adopting: FileDescriptor(rawValue: 4000)) : try .numbered(index)) }
        defer {
          // The closed one must not be closed again.
          while let descriptor = list.takeFirst() {
            if descriptor.withUnsafeFileDescriptor({ $0.rawValue }) == 4000 { _ = descriptor.release() }
          }
        }
        try await socket.sendMessage([1], descriptors: list.span)
      }
    }

    @Test(.enabled(if: TestLoop.isOnRing, "there is no ring to send"))
    func aRing() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let rings = openDescriptors().filter { $0.value == "anon_inode:[io_uring]" }
        let ring = try #require(rings.keys.first)
        let copy = OwnedFd(adopting: FileDescriptor(rawValue: dup(ring)))
        let thrown = await codeThrown { try await left.sendMessage([1], descriptor: copy) }
        #expect(thrown == .cannotPassRing)
        _ = right
      }
    }

    @Test func aSeqpacketMessageLargerThanTheSendBuffer() async throws {
      try await expectError(.messageTooLarge, on: UnixSeqpacket.self) {
        try await $0.sendMessage([UInt8](repeating: 0, count: 4 << 20), descriptor: try .numbered(1))
      }
    }

    @Test func aPeerThatIsGone() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        await right.close()
        // Without SIGPIPE, which would end the test process.
        #expect(await codeThrown { try await left.sendMessage([1], descriptor: try .numbered(1)) } == .peerClosed)
        #expect(try await left.receiveMessage() == nil)
      }
    }

    @Test func aPeerThatClosedWithDataUnread() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        try await right.sendMessage([1, 2])
        try await left.sendMessage([3])
        await right.close()
        #expect(try await left.receiveMessage()?.payload == [1, 2])
        #expect(await codeThrown { _ = try await left.receiveMessage() } == .connectionReset)
        #expect(try await left.receiveMessage() == nil)
      }
    }

    @Test func aClosedSocket() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        await left.close()
        await left.close()
        #expect(await codeThrown { try await left.sendMessage([1]) } == .closed)
        #expect(await codeThrown { _ = try await left.receiveMessage() } == .closed)
        #expect(await codeThrown { try await left.shutdown(.both) } == .closed)
        _ = right
      }
    }

    @Test func closingEndsAPendingReceive() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        async let code = codeThrown { _ = try await left.receiveMessage() }
        await untilOperationsArePending(1, on: loop)
        await left.close()
        #expect(await code == .closed)
        _ = right
      }
    }

    @Test func shutdownOfEachDirection() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        try await left.shutdown(.sending)
        #expect(try await right.receiveMessage() == nil)
        #expect(await codeThrown { try await left.sendMessage([1]) } == .peerClosed)
        try await right.sendMessage([1])
        #expect(try await left.receiveMessage()?.payload == [1])
        try await right.shutdown(.receiving)
        #expect(try await right.receiveMessage() == nil)
      }
    }
  }
}
