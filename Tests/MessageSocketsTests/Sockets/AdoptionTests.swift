// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  @Suite struct Adopting {
    private func makeSocket(_ family: Int32, _ type: Int32) throws -> OwnedFd {
      let number = socket(family, type, 0)
      try #require(number >= 0)
      return OwnedFd(adopting: FileDescriptor(rawValue: number))
    }

    @Test func aSocketFromElsewhereIsAdoptedAndSetCloseOnExec() async throws {
      try await withDescriptorOracle { _ in
        var numbers: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &numbers) == 0)
        let left = try UnixSeqpacket(
          adopting: OwnedFd(adopting: FileDescriptor(rawValue: numbers[0])))
        let right = try UnixSeqpacket(
          adopting: OwnedFd(adopting: FileDescriptor(rawValue: numbers[1])))
        #expect(fcntl(numbers[0], F_GETFD) == FD_CLOEXEC)
        #expect(fcntl(numbers[0], F_GETFL) & O_NONBLOCK == 0)
        try await left.sendMessage([1], descriptor: try .numbered(1))
        #expect(try await right.receiveMessage()?.descriptorCount == 1)
      }
    }

    @Test func theWrongKindIsATypedErrorAndClosed() async throws {
      try await withDescriptorOracle { _ in
        let stream = Int32(SOCK_STREAM.rawValue)
        let datagram = Int32(SOCK_DGRAM.rawValue)
        let error = await errorThrown {
          _ = try UnixStream(adopting: try makeSocket(AF_UNIX, datagram))
        }
        #expect(error?.code == .wrongSocketKind)
        #expect(error?.detail == "it is a Unix datagram socket; expected a Unix stream socket")
        #expect(
          await codeThrown { _ = try UnixStream(adopting: try makeSocket(AF_INET, stream)) }
            == .wrongSocketKind)
        #expect(
          await codeThrown { _ = try TCPStream(adopting: try makeSocket(AF_UNIX, stream)) }
            == .wrongSocketKind)
        #expect(
          await codeThrown { _ = try UDPSocket(adopting: try makeSocket(AF_INET, stream)) }
            == .wrongSocketKind)
        #expect(
          await codeThrown { _ = try UnixDatagram(adopting: try makeSocket(AF_INET6, datagram)) }
            == .wrongSocketKind)
        #expect(
          await codeThrown { _ = try UnixStream(adopting: try .openFile("/dev/null")) }
            == .wrongSocketKind)
        #expect(
          await codeThrown { _ = try UDPSocket(adopting: try .openFile("/")) } == .wrongSocketKind)
        _ = try TCPStream(adopting: try makeSocket(AF_INET6, stream))
        _ = try UDPSocket(adopting: try makeSocket(AF_INET, datagram))
        // A listener is no connection.
        let code = await codeThrown {
          let listening = try makeSocket(AF_INET, stream)
          let number = listening.withUnsafeFileDescriptor { $0.rawValue }
          try #require(listen(number, 1) == 0)
          _ = try TCPStream(adopting: listening)
        }
        #expect(code == .wrongSocketKind)
      }
    }

    /// SCTP, ICMP, UDP-Lite: which of them there are depends on the machine.
    @Test func anotherProtocolIsTheWrongKind() async throws {
      try await withDescriptorOracle { _ in
        let stream = Int32(SOCK_STREAM.rawValue)
        let datagram = Int32(SOCK_DGRAM.rawValue)
        for (type, protocolNumber) in [(stream, 132), (datagram, 1), (datagram, 136)]
          as [(Int32, Int32)]
        {
          let number = socket(AF_INET, type, protocolNumber)
          if number < 0 { continue }
          let error = await errorThrown {
            let descriptor = OwnedFd(adopting: FileDescriptor(rawValue: number))
            if type == stream {
              _ = try TCPStream(adopting: descriptor)
            } else {
              _ = try UDPSocket(adopting: descriptor)
            }
          }
          #expect(error?.code == .wrongSocketKind)
          #expect(
            error?.detail
              == "it speaks protocol \(protocolNumber); expected \(type == stream ? 6 : 17)")
        }
        let multipath = socket(AF_INET, stream, 262)
        if multipath >= 0 {
          _ = try TCPStream(adopting: OwnedFd(adopting: FileDescriptor(rawValue: multipath)))
        }
      }
    }

    @Test func anAdoptedDatagramSocketKeepsItsFlagsWhenItIsConnected() async throws {
      try await withDescriptorOracle { _ in
        let server = try UnixDatagram(boundTo: .autobind)
        let address = try #require(try await server.localAddress()?.unix)
        for flags in [0, O_NONBLOCK] {
          let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
          try #require(number >= 0)
          #expect(fcntl(number, F_SETFL, flags) == 0)
          let client = try UnixDatagram(
            adopting: OwnedFd(adopting: FileDescriptor(rawValue: number)))
          try await client.connect(to: address)
          #expect(fcntl(number, F_GETFL) & O_NONBLOCK == flags)
          try await client.sendMessage([7])
          #expect(try await server.receiveMessage()?.payload == [7])
        }
      }
    }

    @Test func aReleasedSocketIsAnothers() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let pending = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()
        }
        await untilOperationsArePending(1, on: loop)
        let descriptor = try await right.release()
        await #expect(throws: SocketError.self) { _ = try await pending.value }
        #expect(await codeThrown { _ = try await right.receiveMessage() } == .closed)
        #expect(await codeThrown { _ = try await right.release() } == .closed)
        await right.close()
        // Nothing was taken from it.
        try await left.sendMessage([1], descriptor: try .numbered(3))
        let again = try UnixSeqpacket(adopting: descriptor)
        #expect(try await again.receiveMessage()?.descriptorCount == 1)
      }
    }

    /// What was received ahead cannot be put back: the socket stays until it has been asked for.
    @Test func aSocketWithMessagesReceivedAheadIsNotGivenAway() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage([0])
        #expect(try await iterator.next()?.payload == [0])
        guard TestLoop.isOnRing else {
          _ = try await right.release()
          return
        }
        let before = await loop.statistics.messagesReceived
        try await left.sendMessage([1], descriptor: try .numbered(1))
        while await loop.statistics.messagesReceived == before { await Task.yield() }
        #expect(await codeThrown { _ = try await right.release() } == .messagesUnread)
        #expect(try await right.receiveMessage()?.descriptorCount == 1)
        try await left.sendMessage([2])
        let descriptor = try await right.release()
        let again = try UnixSeqpacket(adopting: descriptor)
        #expect(try await again.receiveMessage()?.payload == [2])
      }
    }

    /// The end can be found again, so that it is no message that would be lost. Nor is an error.
    @Test(arguments: [false, true]) func aSocketWithItsEndReceivedAheadIsGivenAway(isReset: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage([0])
        #expect(try await iterator.next()?.payload == [0])
        let before = await loop.statistics.multishotEnds
        // Closed with data unread: a reset.
        if isReset { try await right.sendMessage([1]) }
        await left.close()
        while TestLoop.isOnRing, await loop.statistics.multishotEnds == before {
          await Task.yield()
        }
        let again = try UnixStream(adopting: try await right.release())
        if isReset, !TestLoop.isOnRing {
          #expect(await codeThrown { _ = try await again.receiveMessage() } == .connectionReset)
        }
        #expect(try await again.receiveMessage() == nil)
      }
    }

    @Test func optionsAreTypedAndUnknownOnesAreToldApart() async throws {
      try await withDescriptorOracle { _ in
        let (left, _) = try UnixStream.makePair()
        try await left.setOption(.sendBufferSize, to: 65536)
        #expect(try await left.option(.sendBufferSize) == 131_072)
        #expect(try await left.option(.passDescriptors))
        try await left.setOption(.passCredentials, to: true)
        #expect(try await left.option(.passCredentials))
        #expect(try await left.option(SocketOption<[UInt8]>(level: 1, name: 17)).count == 12)
        let error = try #require(
          await errorThrown {
            try await left.setOption(SocketOption<Int>(level: 1, name: 9999), to: 1)
          })
        #expect(error.code == .notSupported)
        #expect(error.detail == "option 9999 of level 1")
        #expect(
          await codeThrown { _ = try await left.option(SocketOption<Bool>(level: 1, name: 17)) }
            == .notSupported)
        await left.close()
        #expect(
          await codeThrown { try await left.setOption(.passCredentials, to: true) } == .closed)
      }
    }
  }
}
