// SPDX-License-Identifier: Apache-2.0
import CProcessRestrictions
import Glibc
import MessageSockets
import SystemPackage
import Testing

/// The code of the error that `body` throws; nil if it throws nothing, or another kind of error.
func codeThrown(by body: () async throws -> Void) async -> SocketError.Code? {
  await errorThrown(by: body)?.code
}

func errorThrown(by body: () async throws -> Void) async -> SocketError? {
  do {
    try await body()
    return nil
  } catch { return error as? SocketError }
}

extension KernelTests {
  /// Invalid arguments throw a typed error, nothing is sent or leaked, and the socket remains
  /// usable.
  @Suite struct Errors {
    private func expectError(
      _ code: SocketError.Code, on kind: TestedSocket,
      sourceLocation: SourceLocation = #_sourceLocation,
      _ body: (any UnixSocket) async throws -> Void
    ) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try kind.makeUnixPair()
        let thrown = await codeThrown { try await body(left) }
        #expect(thrown == code, sourceLocation: sourceLocation)
        // Nothing was sent, and the socket is still usable.
        try await left.sendMessage([42])
        let next = try #require(try await right.receiveMessage(), sourceLocation: sourceLocation)
        #expect(next.payload == [42], sourceLocation: sourceLocation)
        #expect(next.descriptorCount == 0, sourceLocation: sourceLocation)
        await left.close()
        await right.close()
      }
    }

    /// An error names the socket, and the addresses to which it is bound and connected.
    @Test func theSocketIsNamed() async throws {
      try await withDescriptorOracle { _ in
        let listener = try UnixListener<UnixStream>.bind(to: try .unused())
        let client = try await UnixStream.connect(to: listener.address)
        let connection = try await listener.accept()
        try await client.sendMessage([1])
        // Closed with an unread byte, which resets the connection.
        await connection.close()
        let error = try #require(await errorThrown { _ = try await client.receiveMessage() })
        #expect(error.code == .connectionReset)
        #expect(error.socket?.kind == .stream)
        #expect(error.socket?.peerAddress?.unix == listener.address)
        #expect(error.description.contains("on a stream socket connected to \(listener.address)"))
        await client.close()
        #expect(await errorThrown { try await client.sendMessage([1]) }?.socket == nil)
        await listener.close()
      }
    }

    @Test func anEmptyStreamPayloadWithADescriptor() async throws {
      try await expectError(.emptyPayload, on: .unixStream) {
        try await $0.sendMessage([], descriptor: try .numbered(1))
      }
    }

    @Test(arguments: TestedSocket.unix) func moreThan253Descriptors(socket: TestedSocket)
      async throws
    {
      try await expectError(.tooManyDescriptors, on: socket) { socket in
        var many = OwnedFds()
        let file = try OwnedFd.numbered(1)
        for _ in 0..<254 { many.append(try file.duplicate()) }
        try await socket.sendMessage([1], descriptors: many.span)
      }
    }

    /// Descriptors in the caller's own control messages: the kernel adds them up, and answers
    /// EINVAL.
    @Test(
      arguments: TestedSocket.unix,
      [([254], 0), ([200, 54], 0), ([253], 1), ([1000], 0), ([127, 126], 1)])
    func moreThan253DescriptorsInControlMessages(socket: TestedSocket, counts: ([Int], Int))
      async throws
    {
      try await expectError(.tooManyDescriptors, on: socket) { socket in
        try await Self.send(counts.0, descriptors: counts.1, on: socket)
      }
    }

    @Test(arguments: TestedSocket.unix, [([253], 0), ([200, 52], 1)])
    func as253DescriptorsInControlMessagesArrive(socket: TestedSocket, counts: ([Int], Int))
      async throws
    {
      try await withDescriptorOracle { _ in
        let (left, right) = try socket.makeUnixPair()
        try await Self.send(counts.0, descriptors: counts.1, on: left)
        #expect(try await right.receiveMessage()?.descriptorCount == 253)
        await left.close()
        await right.close()
      }
    }

    private static func send(_ counts: [Int], descriptors: Int, on socket: any UnixSocket)
      async throws
    {
      let file = try OwnedFd.numbered(1)
      var control = ControlMessageBuffer()
      for count in counts {
        let numbers = [Int32](
          repeating: file.withUnsafeFileDescriptor { $0.rawValue }, count: count)
        control.append(level: 1, type: 1, bytes: unsafe numbers.span.bytes)
      }
      var owned = OwnedFds()
      for _ in 0..<descriptors { owned.append(try file.duplicate()) }
      try await socket.sendMessage([1], descriptors: owned.span, control: control)
    }

    /// Nothing is sent, and the other descriptors stay open and belong to the caller.
    @Test(arguments: TestedSocket.unix, [0, 1, 2])
    func aClosedDescriptorAnywhereInTheList(socket: TestedSocket, position: Int) async throws {
      let pipe = try Pipe()
      try await expectError(.badDescriptor, on: socket) { socket in
        var list = OwnedFds()
        for index in 0..<3 {
          list.append(
            index == position
              ? OwnedFd(adopting: FileDescriptor(rawValue: 4000)) : try pipe.duplicateWriter())
        }
        defer {
          while let descriptor = list.takeFirst() {
            let number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
            // The closed descriptor must not be closed again.
            if number == 4000 {
              _ = descriptor.release()
            } else {
              #expect(fcntl(number, F_GETFD) == FD_CLOEXEC)
            }
          }
        }
        try await socket.sendMessage([1], descriptors: list.span)
      }
      pipe.closeWriter()
      #expect(pipe.isAtEnd)
    }

    @Test(
      .enabled(if: TestLoop.isOnRing, "there is no ring to send"),
      .enabled(
        if: cpr_kernel_passes_rings() == 0,
        "this kernel passes rings on: Linux 6.7 does not, nor do later 6.1 and 5.10"),
      arguments: TestedSocket.unix)
    func aRing(socket: TestedSocket) async throws {
      try await expectError(.cannotPassRing, on: socket) { socket in
        let rings = openDescriptors().filter { $0.value == "anon_inode:[io_uring]" }
        let copy = OwnedFd(adopting: FileDescriptor(rawValue: dup(try #require(rings.keys.first))))
        try await socket.sendMessage([1], descriptor: copy)
      }
    }

    /// EINVAL has other causes than a ring.
    @Test func nothingCanBeSentToAnUnnamedAddress() async throws {
      try await withDescriptorOracle { _ in
        let socket = try UnixDatagram()
        let withDescriptor = await errorThrown {
          try await socket.sendMessage([1], descriptor: try .numbered(1), to: .unnamed)
        }
        #expect(withDescriptor?.code == .addressNotAvailable)
        #expect(withDescriptor?.address?.unix == .unnamed)
        #expect(
          await codeThrown { try await socket.sendMessage([1], to: .autobind) }
            == .addressNotAvailable)
        #expect(await codeThrown { try await socket.connect(to: .unnamed) } == .addressNotAvailable)
        #expect(
          await codeThrown { _ = try await UnixStream.connect(to: .unnamed) }
            == .addressNotAvailable)
      }
    }

    @Test func aControlMessageThatTheKernelRefuses() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        var control = ControlMessageBuffer()
        // SCM_CREDENTIALS with three bytes.
        control.append(level: SOL_SOCKET, type: 2, bytes: ([1, 2, 3] as [UInt8]).span.bytes)
        let error = await errorThrown {
          try await left.sendMessage([1], descriptor: try .numbered(1), control: control)
        }
        #expect(error?.code == .system)
        #expect(error?.errno == .invalidArgument)
        _ = right
      }
    }

    /// Part of the bytes and all descriptors have been sent, so sending everything again would be
    /// wrong.
    @Test func aSendThatDoesNotWaitAndHasRoomForAPart() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let error = try #require(
          await errorThrown {
            try await left.sendMessage(
              [UInt8](repeating: 1, count: 4 << 20), descriptor: try .numbered(5),
              options: .doNotWait)
          })
        #expect(error.code == .partialSend)
        #expect(error.errno == .wouldBlock)
        #expect(error.bytesSent > 0)
        var received = 0
        var descriptors = 0
        while received < error.bytesSent, let message = try await right.receiveMessage() {
          received += message.payload.count
          descriptors += message.descriptorCount
        }
        #expect(received == error.bytesSent)
        #expect(descriptors == 1)
        while await codeThrown(by: { try await left.sendMessage([1], options: .doNotWait) }) == nil
        {}
        #expect(
          await errorThrown { try await left.sendMessage([1], options: .doNotWait) }?.code
            == .wouldBlock)
      }
    }

    @Test(arguments: [TestedSocket.unixSeqpacket, .unixDatagram])
    func aMessageLargerThanTheSendBuffer(socket: TestedSocket) async throws {
      try await expectError(.messageTooLarge, on: socket) {
        try await $0.sendMessage(
          [UInt8](repeating: 0, count: 4 << 20), descriptor: try .numbered(1))
      }
    }

    @Test(arguments: TestedSocket.unix) func aPeerThatIsGone(socket: TestedSocket) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try socket.makeUnixPair()
        await right.close()
        // Without SIGPIPE, which would end the test process.
        let code = await codeThrown {
          try await left.sendMessage([1], descriptor: try .numbered(1))
        }
        #expect(code == (socket == .unixDatagram ? .connectionRefused : .peerClosed))
        if socket != .unixDatagram { #expect(try await left.receiveMessage() == nil) }
        await left.close()
      }
    }

    /// Even if there is nothing to send.
    @Test func anEmptyPayloadOnAClosedStream() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([])
        await left.close()
        #expect(await codeThrown { try await left.sendMessage([]) } == .closed)
        await right.close()
      }
    }

    @Test(arguments: TestedSocket.allCases) func aClosedSocket(socket: TestedSocket) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try await socket.makePair()
        await left.close()
        await left.close()
        #expect(await codeThrown { try await left.sendMessage([1]) } == .closed)
        #expect(await codeThrown { _ = try await left.receiveMessage() } == .closed)
        #expect(
          await codeThrown {
            _ = try await Reception(socket: socket, isAhead: true).next(from: left)
          } == .closed)
        #expect(await codeThrown { try await left.shutdown(.both) } == .closed)
        await right.close()
      }
    }

    @Test(arguments: Reception.all) func closingEndsAPendingReceive(reception: Reception)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try await reception.socket.makePair()
        async let code = codeThrown { _ = try await reception.next(from: left) }
        await untilOperationsArePending(1, on: loop)
        await left.close()
        #expect(await code == .closed)
        await right.close()
      }
    }

    @Test(arguments: Reception.connections) func shutdownOfEachDirection(reception: Reception)
      async throws
    {
      try await withDescriptorOracle { _ in
        let (left, right) = try await reception.socket.makePair()
        try await left.shutdown(.sending)
        #expect(try await reception.next(from: right) == nil)
        #expect(await codeThrown { try await left.sendMessage([1]) } == .peerClosed)
        try await right.sendMessage([1])
        #expect(try await reception.next(from: left)?.payload == [1])
        try await right.shutdown(.receiving)
        #expect(try await reception.next(from: right) == nil)
        await left.close()
        await right.close()
      }
    }

    /// `SIGPIPE` would end a process that does not expect it. A loop's thread blocks the signal, so
    /// it would be pending.
    @Test func aPeerThatIsGoneRaisesNoSignal() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        await right.close()
        #expect(await codeThrown { try await left.sendMessage([1]) } == .peerClosed)
        try #require(loop.isCurrent)
        var signals = sigset_t()
        #expect(sigpending(&signals) == 0)
        #expect(sigismember(&signals, SIGPIPE) == 0)
        await left.close()
      }
    }
  }
}
