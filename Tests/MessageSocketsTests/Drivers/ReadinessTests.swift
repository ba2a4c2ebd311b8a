// SPDX-License-Identifier: Apache-2.0
import Glibc
@testable import MessageSockets
@testable import SocketEngine
import SystemPackage
import Testing

extension KernelTests {
  /// What only the readiness driver has: sockets that are registered with epoll. Runs on a loop of
  /// its own, whatever the machine allows.
  @Suite struct Readiness {
    private func withReadinessLoop(_ body: (IOLoop) async throws -> Void) async throws {
      var configuration = IOLoop.Configuration()
      configuration.driver = .readiness
      try await withOwnLoop(configuration) { loop in try await loop.run { try await body(loop) } }
    }

    /// The numbers that any epoll instance of this process watches.
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
      try await withReadinessLoop { loop in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([1])
        _ = try await right.receiveMessage()
        #expect(try !watchedNumbers().contains(right.channel.socket.number))
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()
        }
        // It is pending before it is tried: a turn later.
        while try !watchedNumbers().contains(right.channel.socket.number) {
          _ = await loop.statistics
        }
        try await left.sendMessage([1])
        #expect(try await receiving.value != nil)
      }
    }

    /// epoll watches open files: a socket that others still have must be taken out, or it would
    /// wake the loop for ever.
    @Test(arguments: [true, false])
    func aSocketThatLivesOnElsewhereIsNotWatchedAnyMore(closing: Bool) async throws {
      try await withReadinessLoop { loop in
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

    /// A socket dropped after its loop was shut down has nothing left to be taken out of.
    @Test func aSocketMayOutliveItsLoopsDriver() async throws {
      try await withReadinessLoop { loop in
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

    /// A listener is ours, and new: it alone is `O_NONBLOCK`, so that a connection that somebody
    /// else takes first cannot block the loop.
    @Test func anAcceptDoesNotBlockTheLoopWhenAnotherProcessIsFaster() async throws {
      try await withReadinessLoop { loop in
        let address = try UnixAddress(abstract: Array("message-sockets-faster-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let accepting = Task(executorPreference: loop.taskExecutor) { try await listener.accept() }
        repeat {
          _ = await loop.statistics
        } while try !watchedNumbers().contains(listener.channel.socket.number)
        // In one job of the loop's: the event of the first connection is there when the loop looks,
        // the connection is not.
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
      try await withReadinessLoop { _ in
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
  }
}
