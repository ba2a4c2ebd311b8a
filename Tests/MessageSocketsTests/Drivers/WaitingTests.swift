// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
@testable import SocketEngine
import Testing

extension KernelTests {
  /// How waiting operations end; identical on both drivers.
  @Suite struct Waiting {
    enum Ending: CaseIterable { case ownShutdown, peerShutdown, ownShutdownOfBoth, peerClose }

    @Test(arguments: Ending.allCases)
    func aSendThatWaitsEndsWithTheConnection(ending: Ending) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let sending = Task(executorPreference: loop.taskExecutor) {
          await errorThrown {
            try await left.sendMessage(
              [UInt8](repeating: 1, count: 8 << 20), descriptor: try .numbered(1))
          }
        }
        await untilSendsStall(on: loop)
        try await end(ending, left, right, sending: true)
        let error = await sending.value
        // With unread data, the kernel may report connectionReset first.
        #expect(
          error?.code == .peerClosed || (ending == .peerClose && error?.code == .connectionReset),
          "\(String(describing: error))")
        #expect(error.map { $0.bytesSent > 0 && $0.bytesSent < 8 << 20 } == true)
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: Ending.allCases)
    func aReceiveThatWaitsFindsTheEnd(ending: Ending) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await left.receiveMessage() == nil
        }
        await untilOperationsArePending(1, on: loop)
        try await end(ending, left, right, sending: false)
        #expect(try await receiving.value)
        await left.close()
        await right.close()
      }
    }

    private func end<Socket: UnixConnection>(
      _ ending: Ending, _ left: Socket, _ right: Socket, sending: Bool
    ) async throws {
      switch ending {
      case .ownShutdown: try await left.shutdown(sending ? .sending : .receiving)
      case .peerShutdown: try await right.shutdown(sending ? .receiving : .sending)
      case .ownShutdownOfBoth: try await left.shutdown(.both)
      case .peerClose: await right.close()
      }
    }

    /// Data flows in both directions of one socket while both of its queues wait again and again.
    @Test func megabytesInBothDirectionsAtOnce() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let size = 4 << 20
        let received = try await withThrowingTaskGroup(of: Int.self) { group in
          for (from, to) in [(left, right), (right, left)] {
            group.addTask {
              try await from.sendMessage(
                [UInt8](repeating: 7, count: size), descriptor: try .numbered(1))
              return 0
            }
            group.addTask {
              var received = 0
              while received < size {
                received += try await to.receiveMessage()?.payload.count ?? size
              }
              return received
            }
          }
          return try await group.reduce(0, +)
        }
        #expect(received == 2 * size)
      }
    }

    @Test func twoHundredSocketsThatWaitAreAllServed() async throws {
      try await withDescriptorOracle { loop in
        var pairs: [(UnixSeqpacket, UnixSeqpacket)] = []
        for _ in 0..<200 { pairs.append(try UnixSeqpacket.makePair()) }
        let receivers = pairs.map(\.1)
        try await withThrowingTaskGroup(of: (Int, Int).self) { group in
          for (index, receiver) in receivers.enumerated() {
            group.addTask {
              var sum = 0
              for _ in 0..<10 {
                sum += try await receiver.receiveMessage()?.takeDescriptor()?.number ?? -1
              }
              return (index, sum)
            }
          }
          await untilOperationsArePending(200, on: loop)
          for _ in 0..<10 {
            for (index, pair) in pairs.enumerated() {
              try await pair.0.sendMessage([1], descriptor: try .numbered(index))
            }
          }
          for try await (index, sum) in group { #expect(sum == index * 10) }
        }
      }
    }

    /// Two tasks that always have something to do do not starve a message from another thread.
    @Test func busyTasksDoNotStarveAMessageFromAnotherThread() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        let (outside, inside) = try UnixSeqpacket.makePair()
        let number = outside.channel.socket.number
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await inside.receiveMessage()?.payload
        }
        await untilOperationsArePending(1, on: loop)
        let busy = Task(executorPreference: loop.taskExecutor) {
          while !Task.isCancelled {
            try await left.sendMessage([1])
            _ = try await right.receiveMessage()
          }
        }
        let sent = await Task.detached { send(number, [9] as [UInt8], 1, 0) }.value
        #expect(sent == 1)
        #expect(try await receiving.value == [9])
        busy.cancel()
        _ = await busy.result
      }
    }

    /// A send that need not wait goes to the kernel from its own job, but only a limited number of
    /// times.
    @Test(.timeLimit(.minutes(1))) func aTaskThatOnlySendsLeavesATurnToOthers() async throws {
      try await withOwnLoop { loop in
        // No task receives, and datagrams that find no room are dropped.
        let receiver = try UDPSocket.bind(to: InternetSockets.loopbacks[0], on: loop)
        let address = try #require(try await receiver.localAddress()?.internet)
        let sender = try UDPSocket.bind(to: InternetSockets.loopbacks[0], on: loop)
        let busy = Task(executorPreference: loop.taskExecutor) {
          while !Task.isCancelled { try await sender.sendMessage([1], to: address) }
        }
        while await loop.statistics.messagesSent < 1000 {}
        busy.cancel()
        _ = await busy.result
        await sender.close()
        await receiver.close()
      }
    }

    @Test func aConnectThatWaitsForTheListenerCanBeCancelled() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: Array("message-sockets-waiting-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address, backlog: 0)
        let first = try await UnixStream.connect(to: address)
        let connecting = Task(executorPreference: loop.taskExecutor) {
          try await UnixStream.connect(to: address)
        }
        await untilOperationsArePending(1, on: loop)
        connecting.cancel()
        await #expect(throws: CancellationError.self) { try await connecting.value }
        await first.close()
        await listener.close()
      }
    }

    @Test func aConnectThatWaitsFailsWhenTheListenerCloses() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: Array("message-sockets-refusing-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address, backlog: 0)
        let first = try await UnixStream.connect(to: address)
        let connecting = Task(executorPreference: loop.taskExecutor) {
          await codeThrown { _ = try await UnixStream.connect(to: address) }
        }
        await untilOperationsArePending(1, on: loop)
        await listener.close()
        #expect(await connecting.value == .connectionRefused)
        await first.close()
      }
    }

    /// Contract: status flags of an open file that others may share are never changed.
    @Test func noSocketOfAConnectionIsNonblocking() async throws {
      try await withDescriptorOracle { _ in
        let address = try UnixAddress(abstract: Array("message-sockets-flags-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let client = try await UnixStream.connect(to: address)
        let server = try await listener.accept()
        let (left, right) = try UnixStream.makePair()
        try await client.sendMessage([1])
        _ = try await server.receiveMessage()
        for socket in [client, server, left, right] {
          #expect(fcntl(socket.channel.socket.number, F_GETFL) & O_NONBLOCK == 0)
        }
        await listener.close()
      }
    }
  }
}

/// The socket error that `body` throws; nil if it throws nothing, or another kind of error.
