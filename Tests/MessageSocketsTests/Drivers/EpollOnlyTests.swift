// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
@testable import MessageSockets
@testable import SocketEngine
import SystemPackage
import Testing

extension KernelTests {
  /// What only the epoll driver has: sockets that are registered with epoll. Runs on its own loop,
  /// whatever the machine allows.
  @Suite struct EpollOnly {
    private func withEpollLoop(_ body: (IOLoop) async throws -> Void) async throws {
      var configuration = IOLoop.Configuration()
      configuration.driver = .epoll
      try await withOwnLoop(configuration) { loop in try await loop.run { try await body(loop) } }
    }

    /// The descriptor numbers that the epoll instances of this process watch.
    private func watchedNumbers() throws -> [Int32] {
      try openDescriptors().filter { $0.value == "anon_inode:[eventpoll]" }.keys.flatMap { number in
        let text = try textOfProcessFile("/proc/self/fdinfo/\(number)")
        return text.split(separator: "\n").compactMap { line in
          line.hasPrefix("tfd:")
            ? Int32(line.split(whereSeparator: { $0 == " " || $0 == ":" })[1]) : nil
        }
      }
    }

    @Test func onlyASocketThatHasWaitedIsRegistered() async throws {
      try await withEpollLoop { loop in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([1])
        _ = try await right.receiveMessage()
        #expect(try !watchedNumbers().contains(right.channel.socket.number))
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()
        }
        // It is pending one turn before it is tried.
        while try !watchedNumbers().contains(right.channel.socket.number) {
          _ = await loop.statistics
        }
        try await left.sendMessage([1])
        #expect(try await receiving.value != nil)
      }
    }

    /// epoll watches open files: a socket that other processes still have must be removed, or it
    /// would wake the loop forever.
    @Test(arguments: [true, false])
    func aSocketThatLivesOnElsewhereIsNotWatchedAnyMore(closing: Bool) async throws {
      try await withEpollLoop { loop in
        let before = try watchedNumbers().count
        let (left, copy) = try await copyOfASocketThatHasWaited(on: loop, closing: closing)
        #expect(try watchedNumbers().count == before)
        try await left.sendMessage([2])
        var byte: UInt8 = 0
        #expect(recv(copy, &byte, 1, Int32(MSG_DONTWAIT)) == 1)
        close(copy)
      }
    }

    private func copyOfASocketThatHasWaited(on loop: IOLoop, closing: Bool) async throws -> (
      UnixStream, Int32
    ) {
      let (left, right) = try UnixStream.makePair()
      let receiving = Task(executorPreference: loop.taskExecutor) {
        try await right.receiveMessage()?.payload
      }
      while try !watchedNumbers().contains(right.channel.socket.number) {
        _ = await loop.statistics
      }
      try await left.sendMessage([1])
      #expect(try await receiving.value == [1])
      let copy = dup(right.channel.socket.number)
      if closing { await right.close() }
      return (left, copy)
    }

    /// A socket that is dropped after its loop was shut down has no registration to remove.
    @Test func aSocketMayOutliveItsLoopsDriver() async throws {
      try await withEpollLoop { loop in
        let before = openDescriptors().values.filter { $0 == "anon_inode:[eventpoll]" }.count
        let (left, right) = try UnixStream.makePair()
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()
        }
        repeat {
          _ = await loop.statistics
        } while try !watchedNumbers().contains(right.channel.socket.number)
        receiving.cancel()
        _ = await receiving.result
        await loop.shutdown()
        #expect(
          openDescriptors().values.filter { $0 == "anon_inode:[eventpoll]" }.count == before - 1)
        await right.close()
        _ = left
      }
    }

    /// A listener of this process is new, so it alone is `O_NONBLOCK`: a connection that another
    /// process takes first cannot block the loop.
    @Test func anAcceptDoesNotBlockTheLoopWhenAnotherProcessIsFaster() async throws {
      try await withEpollLoop { loop in
        let address = try UnixAddress(abstract: Array("message-sockets-faster-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let accepting = Task(executorPreference: loop.taskExecutor) { try await listener.accept() }
        repeat {
          _ = await loop.statistics
        } while try !watchedNumbers().contains(listener.channel.socket.number)
        // In one job of the loop: when the loop looks, there is an event of the first connection,
        // but the connection is gone.
        try #require(loop.isCurrent)
        let number = listener.channel.socket.number
        let stolen = try connectAndSteal(address, from: number)
        try #require(stolen >= 0)
        close(stolen)
        let second = try await UnixStream.connect(to: address)
        let connection = try await accepting.value
        try await second.sendMessage([5])
        #expect(try await connection.receiveMessage()?.payload == [5])
        await listener.close()
      }
    }

    /// Without `O_NONBLOCK`, a thread accepts after an event. If another process is faster, the
    /// accept waits for the next connection; it was not cancelled.
    @Test(.timeLimit(.minutes(1))) func anAcceptThatAnotherWinsGoesOn() async throws {
      try await withEpollLoop { loop in
        let address = try UnixAddress(abstract: "message-sockets-rival-\(getpid())")
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let number = listener.channel.socket.number
        #expect(fcntl(number, F_SETFL, 0) == 0)
        let isOver = Atomic(false)
        let hasLeft = Atomic(false)
        let rival = Task.detached {
          while !isOver.load(ordering: .acquiring) { Glibc.close(Glibc.accept(number, nil, nil)) }
          hasLeft.store(true, ordering: .releasing)
        }
        let accepting = Task(executorPreference: loop.taskExecutor) {
          while true { await (try await listener.accept()).close() }
        }
        for _ in 0..<3000 {
          let client = try await UnixStream.connect(to: address)
          #expect(try await client.receiveMessage() == nil)
          await client.close()
        }
        accepting.cancel()
        await #expect(throws: CancellationError.self) { try await accepting.value }
        isOver.store(true, ordering: .releasing)
        while !hasLeft.load(ordering: .acquiring) { _ = try await UnixStream.connect(to: address) }
        await rival.value
        await listener.close()
      }
    }

    private func connectAndSteal(_ address: UnixAddress, from listener: Int32) throws -> Int32 {
      let client = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      defer { close(client) }
      let connected = address.withSocketAddressBytes { name in
        name.withUnsafeBytes {
          connect(
            client, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
      }
      try #require(connected == 0)
      return Glibc.accept(listener, nil, nil)
    }

    @Test func anAcceptedDescriptorShortageIsReportedAndPasses() async throws {
      try await withEpollLoop { _ in
        let address = try UnixAddress(abstract: Array("message-sockets-shortage-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let client = try await UnixStream.connect(to: address)
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        var tight = limit
        tight.rlim_cur = 3
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &tight)
        let code = await codeThrown { _ = try await listener.accept() }
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        #expect(code == .outOfDescriptors)
        let connection = try await listener.accept()
        try await client.sendMessage([1])
        #expect(try await connection.receiveMessage()?.payload == [1])
        await listener.close()
      }
    }

    // MARK: Cancelling

    /// Until the loop's next turn only the kernel knows about the message.
    @Test func aMessageThatCameBeforeTheCancellationWins() async throws {
      try await withEpollLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()?.payload
        }
        await untilSendsStall(on: loop)
        try #require(loop.isCurrent)
        #expect(send(left.channel.socket.number, [7] as [UInt8], 1, 0) == 1)
        receiving.cancel()
        #expect(try await receiving.value == [7])
      }
    }

    /// Room that appears before the cancellation does not start the send.
    @Test func aCancelledSendIsNotBegunAlthoughThereIsRoom() async throws {
      try await withEpollLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let numbers = (left.channel.socket.number, right.channel.socket.number)
        while send(numbers.0, [1] as [UInt8], 1, Int32(MSG_DONTWAIT)) == 1 {}
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage([2])
        }
        await untilSendsStall(on: loop)
        try #require(loop.isCurrent)
        var byte: UInt8 = 0
        while recv(numbers.1, &byte, 1, Int32(MSG_DONTWAIT)) == 1 { #expect(byte == 1) }
        sending.cancel()
        await #expect(throws: CancellationError.self) { try await sending.value }
        #expect(recv(numbers.1, &byte, 1, Int32(MSG_DONTWAIT)) == -1)
      }
    }

    // MARK: Waiting

    /// A socket has one registration with epoll, which both directions share.
    @Test(.timeLimit(.minutes(1))) func aReceiveThatWaitsIsNotForgottenWhenASendWaitsToo()
      async throws
    {
      try await withEpollLoop { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let numbers = (left.channel.socket.number, right.channel.socket.number)
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await left.receiveMessage()?.payload
        }
        await untilSendsStall(on: loop)
        while send(numbers.0, [1] as [UInt8], 1, Int32(MSG_DONTWAIT)) == 1 {}
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage([2])
        }
        await untilSendsStall(on: loop)
        #expect(send(numbers.1, [3] as [UInt8], 1, 0) == 1)
        #expect(try await receiving.value == [3])
        sending.cancel()
        _ = await sending.result
      }
    }

    /// The kernel's event gets lost, because nothing is ready at that moment.
    @Test func aSendThatWaitsLearnsOfItsOwnShutdown() async throws {
      try await withEpollLoop { loop in
        let (left, right) = try UnixStream.makePair()
        let sending = Task(executorPreference: loop.taskExecutor) {
          await codeThrown { try await left.sendMessage([UInt8](repeating: 1, count: 8 << 20)) }
        }
        await untilSendsStall(on: loop)
        try await left.shutdown(.sending)
        // Only turns, no time that would trigger a retry.
        for _ in 0..<50 where await loop.operationsInKernel > 0 { await Task.yield() }
        #expect(await loop.operationsInKernel == 0)
        #expect(await sending.value == .peerClosed)
        await right.close()
      }
    }

    /// The full queue of an unconnected receiver raises no event on the sender's socket, so the
    /// loop tries again by itself.
    @Test(.timeLimit(.minutes(1))) func aSendToAFullReceiverNeedsNoEvent() async throws {
      try await withEpollLoop { loop in
        let receiver = try UnixDatagram.bind(to: .autobind)
        let address = try #require(try await receiver.localAddress()?.unix)
        let sender = try UnixDatagram.bind(to: .autobind)
        let number = receiver.channel.socket.number
        for _ in 0..<5 {
          var sent = 0
          while await codeThrown(by: {
            try await sender.sendMessage([1], to: address, options: .doNotWait)
          }) == nil { sent += 1 }
          try #require(sent > 0)
          let count = sent
          let sending = Task(executorPreference: loop.taskExecutor) {
            try await sender.sendMessage([2], to: address)
          }
          await untilSendsStall(on: loop)
          // Another thread makes room, and waits for the messages that then arrive.
          let receiving = Task.detached {
            var byte: UInt8 = 0
            for _ in 0...count { recv(number, &byte, 1, 0) }
            return byte
          }
          try await sending.value
          #expect(await receiving.value == 2)
        }
      }
    }

    /// To connect, the loop makes the socket `O_NONBLOCK` for the duration of the call.
    @Test func aConnectedSocketIsNotLeftNonblocking() async throws {
      try await withEpollLoop { _ in
        let address = try UnixAddress(abstract: "message-sockets-nonblocking-\(getpid())")
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let client = try await UnixStream.connect(to: address)
        #expect(fcntl(client.channel.socket.number, F_GETFL) & O_NONBLOCK == 0)
        let internet = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        let stream = try await TCPStream.connect(to: internet.address)
        #expect(fcntl(stream.channel.socket.number, F_GETFL) & O_NONBLOCK == 0)
        await listener.close()
        await internet.close()
      }
    }
  }
}
