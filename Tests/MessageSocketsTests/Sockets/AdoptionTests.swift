// SPDX-License-Identifier: Apache-2.0
import Glibc
@testable import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

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
        // A listener is not a connection.
        let code = await codeThrown {
          let listening = try makeSocket(AF_INET, stream)
          let number = listening.withUnsafeFileDescriptor { $0.rawValue }
          try #require(listen(number, 1) == 0)
          _ = try TCPStream(adopting: listening)
        }
        #expect(code == .wrongSocketKind)
      }
    }

    /// SCTP, ICMP and UDP-Lite; which of them exist depends on the machine.
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
        let server = try UnixDatagram.bind(to: .autobind)
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
        // No message was taken from it.
        try await left.sendMessage([1], descriptor: try .numbered(3))
        let again = try UnixSeqpacket(adopting: descriptor)
        #expect(try await again.receiveMessage()?.descriptorCount == 1)
      }
    }

    /// A waiting iteration has no request in the kernel that would have to end first.
    @Test func aSocketIsGivenAwayWhileAnIterationWaits() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let waiting = Task(executorPreference: loop.taskExecutor) {
          var messages = right.messages.makeAsyncIterator()
          return try await messages.next()?.payload
        }
        await untilTasksWait(TestLoop.receivesAhead ? 2 : 1, on: loop)
        let descriptor = try await right.release()
        await #expect(throws: SocketError.self) { _ = try await waiting.value }
        try await left.sendMessage([1])
        let again = try UnixSeqpacket(adopting: descriptor)
        #expect(try await again.receiveMessage()?.payload == [1])
      }
    }

    /// Prefetched messages cannot be put back, so the socket is not released until they have been
    /// received.
    @Test func aSocketWithMessagesReceivedAheadIsNotGivenAway() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage([0])
        #expect(try await iterator.next()?.payload == [0])
        guard TestLoop.receivesAhead else {
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

    /// If messages prevent the release, nothing has changed: waiting tasks continue to wait.
    @Test(.enabled(if: TestLoop.receivesAhead, "nothing is received ahead"))
    func aReleaseThatFailsEndsNoIteration() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage([0])
        #expect(try await iterator.next()?.payload == [0])
        let before = await loop.statistics.messagesReceived
        try await left.sendMessage([1])
        while await loop.statistics.messagesReceived == before { await Task.yield() }
        let results = await withTaskGroup(of: SocketError.Code?.self) { group in
          for _ in 0..<3 {
            group.addTask(executorPreference: loop.taskExecutor) {
              await codeThrown { _ = try await right.release() }
            }
          }
          return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(results == [.messagesUnread, .messagesUnread, .messagesUnread])
        #expect(try await iterator.next()?.payload == [1])
        // A message that comes while the multishot receive ends goes to the waiting iteration.
        for round in 0..<100 {
          let waiting = Task(executorPreference: loop.taskExecutor) {
            var messages = right.messages.makeAsyncIterator()
            return try await messages.next()?.payload
          }
          await untilTasksWait(2, on: loop)
          try await left.sendMessage([UInt8(round)])
          try await left.sendMessage([200])
          let code = await codeThrown { _ = try await right.release() }
          guard code == .messagesUnread else {
            // The socket was released before the messages came.
            #expect(code == nil)
            await #expect(throws: SocketError.self) { _ = try await waiting.value }
            return
          }
          #expect(try await waiting.value == [UInt8(round)])
          #expect(try await right.receiveMessage()?.payload == [200])
        }
      }
    }

    /// The next owner can find the end or the error again, so releasing the socket loses no
    /// message.
    @Test(arguments: [false, true]) func aSocketWithItsEndReceivedAheadIsGivenAway(isReset: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage([0])
        #expect(try await iterator.next()?.payload == [0])
        let before = await loop.statistics.multishotEnds
        // Closed with unread data, which causes a reset.
        if isReset { try await right.sendMessage([1]) }
        await left.close()
        while TestLoop.receivesStreamsAhead, await loop.statistics.multishotEnds == before {
          await Task.yield()
        }
        let again = try UnixStream(adopting: try await right.release())
        if isReset, !TestLoop.receivesStreamsAhead {
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
        // SO_PASSRIGHTS.
        if KernelRelease.running >= KernelRelease(6, 16) {
          #expect(try await left.option(.passDescriptors))
        } else {
          #expect(await codeThrown { _ = try await left.option(.passDescriptors) } == .notSupported)
        }
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

    /// The new owner may still be reachable at that path.
    @Test func theFileOfASocketThatIsGivenAwayStays() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let descriptor = try await givenAway(path)
          #expect(access(path.string, F_OK) == 0)
          let again = try UnixDatagram(adopting: descriptor)
          let sender = try UnixDatagram.bind(to: .autobind)
          try await sender.sendMessage([1], to: UnixAddress(path: path))
          #expect(try await again.receiveMessage()?.payload == [1])
        }
      }
    }

    /// Even after the socket object is gone.
    private func givenAway(_ path: FilePath) async throws -> OwnedFd {
      try await UnixDatagram.bind(to: UnixAddress(path: path)).release()
    }

    /// A message that is too long for the buffers is kept for the next receive, which throws it,
    /// even if the socket is about to be released.
    @Test func aMessageThatATryHasKeptForbidsTheRelease() async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = 64
      try await withOwnLoop(configuration) { loop in
        try await loop.run {
          let (left, right) = try UnixSeqpacket.makePair()
          try await left.sendMessage([UInt8](repeating: 1, count: 100))
          let trying = Task(executorPreference: loop.taskExecutor) {
            if let _ = await right.channel.receiveIfThere() { true } else { false }
          }
          let releasing = Task(executorPreference: loop.taskExecutor) {
            await codeThrown { _ = try await right.release() }
          }
          #expect(await !trying.value)
          #expect(await releasing.value == .messagesUnread)
          #expect(await codeThrown { _ = try await right.receiveMessage() } == .messageIncomplete)
        }
      }
    }
  }
}
