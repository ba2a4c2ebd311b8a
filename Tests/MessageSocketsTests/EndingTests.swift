// SPDX-License-Identifier: Apache-2.0
import CTestDescriptors
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// What remains of a socket, a listener or a process when it ends, and which tasks must wait.
  @Suite(.timeLimit(.minutes(5))) struct Endings {
    /// The kernel drops connections that were not accepted, with the messages that their peers have
    /// sent.
    @Test(arguments: [TestedSocket.unixStream, .unixSeqpacket])
    func aListenerClosedWithConnectionsNotAccepted(socket: TestedSocket) async throws {
      if socket == .unixStream {
        try await closeWithoutAccepting(UnixStream.self)
      } else {
        try await closeWithoutAccepting(UnixSeqpacket.self)
      }
    }

    private func closeWithoutAccepting<Socket: UnixConnection>(_: Socket.Type) async throws {
      try await withDescriptorOracle { _ in
        let listener = try UnixListener<Socket>.bind(to: try .unused())
        let client = try await Socket.connect(to: listener.address)
        let pipe = try Pipe()
        try await client.sendMessage([1], descriptor: pipe.takeWriter())
        #expect(!pipe.isAtEnd)
        await listener.close()
        #expect(pipe.isAtEnd)
        try await expectTheEnd(of: client)
        #expect(
          await codeThrown { _ = try await Socket.connect(to: listener.address) }
            == .connectionRefused)
      }
    }

    @Test func aTCPListenerClosedWithConnectionsNotAccepted() async throws {
      try await withDescriptorOracle { _ in
        let listener = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        let client = try await TCPStream.connect(to: listener.address)
        try await client.sendMessage([1])
        await listener.close()
        try await expectTheEnd(of: client)
      }
    }

    /// Expects a reset or a regular end.
    private func expectTheEnd(of client: some MessageSocket) async throws {
      var message: ReceivedMessage?
      let code = await codeThrown { message = try await client.receiveMessage() }
      #expect(message == nil)
      #expect(code == nil || code == .connectionReset)
      #expect(try await client.receiveMessage() == nil)
      #expect(await codeThrown { try await client.sendMessage([1]) } == .peerClosed)
      await client.close()
    }

    /// A peer can feign the end: the kernel reports an empty message and the end in the same way.
    /// No later message is lost.
    @Test(arguments: [false, true]) func anEmptySeqpacketMessageReadsAsTheEnd(receivesAhead: Bool)
      async throws
    {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        let reception = Reception(socket: .unixSeqpacket, isAhead: receivesAhead)
        try await left.sendMessage([])
        try await left.sendMessage([1], descriptor: try .numbered(1))
        #expect(try await reception.next(from: right) == nil)
        let message = try #require(try await reception.next(from: right))
        #expect(try message.takeDescriptor()?.number == 1)
        await left.close()
        await right.close()
      }
    }

    /// Back-pressure: the sender sleeps until there is room.
    @Test(arguments: TestedSocket.allCases.filter { $0 != .udpSocket })
    func aFullQueueSuspendsTheSenderWithoutSpinning(socket: TestedSocket) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await socket.makePair()
        // TCP buffers grow by themselves, and might take everything.
        try await left.setOption(.sendBufferSize, to: 100_000)
        try await right.setOption(.receiveBufferSize, to: 100_000)
        let count = 4000
        let sending = Task(executorPreference: loop.taskExecutor) {
          for number in 0..<count {
            try await left.sendMessage(
              [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 1000))
          }
          await left.close()
        }
        await untilSendsStall(on: loop)
        try await expectThatTheLoopRests(loop)
        var received = 0
        while received < count * 1000 {
          received += try #require(try await right.receiveMessage()).payload.count
        }
        #expect(received == count * 1000)
        try await sending.value
        await right.close()
      }
    }

    /// A connection without traffic for longer than any default timeout. The peer is another
    /// process, which sleeps.
    @Test func aMessageAfterMoreThanFiveSeconds() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let (other, watched) = try UnixSeqpacket.makePair()
        let peer = try await left.release()
        let child = try peer.withUnsafeFileDescriptor {
          try ChildProcess(
            ["sh", "-c", "sleep 5.5; printf late >&3"], descriptors: [3: $0.rawValue])
        }
        let ahead = Task(executorPreference: loop.taskExecutor) {
          try await Reception(socket: .unixSeqpacket, isAhead: true).next(from: watched)?.payload
        }
        #expect(try await right.receiveMessage()?.payload == Array("late".utf8))
        try await other.sendMessage([1])
        #expect(try await ahead.value == [1])
        #expect(child.exitStatus() == 0)
        _ = consume peer
        await right.close()
        await other.close()
        await watched.close()
      }
    }

    /// A copy of the process has the ring or the epoll instance, and the sockets, but not the
    /// loop's thread: it disturbs nothing.
    @Test func aForkWithoutExecLeavesTheLoopAlone() async throws {
      try await withOwnLoop { loop in
        try await loop.run {
          let (left, right) = try UnixSeqpacket.makePair()
          let receiving = Task(executorPreference: loop.taskExecutor) {
            try await right.receiveMessage()?.takeDescriptor()?.number
          }
          await untilOperationsArePending(1, on: loop)
          let control = try FileDescriptor.pipe(options: .closeOnExec)
          let child = ctd_fork_until_end(control.readEnd.rawValue)
          try #require(child > 0)
          try await left.sendMessage([1], descriptor: try .numbered(5))
          #expect(try await receiving.value == 5)
          let cancelled = Task(executorPreference: loop.taskExecutor) {
            try await right.receiveMessage()
          }
          await untilOperationsArePending(1, on: loop)
          cancelled.cancel()
          await #expect(throws: CancellationError.self) { try await cancelled.value }
          for number in 0..<100 {
            try await left.sendMessage([2], descriptor: try .numbered(number))
            #expect(try await right.receiveMessage()?.takeDescriptor()?.number == number)
          }
          await left.close()
          await right.close()
          #expect(try control.writeEnd.writeAll([0]) == 1)
          var status: Int32 = -1
          #expect(waitpid(child, &status, 0) == child)
          #expect(status == 0)
          try control.readEnd.close()
          try control.writeEnd.close()
        }
      }
    }
  }
}
