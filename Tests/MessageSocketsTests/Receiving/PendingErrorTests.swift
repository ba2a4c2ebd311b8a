// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// An error of the socket comes after the messages that were queued before it: on every kind of
  /// socket, in every form, on both drivers.
  @Suite(.timeLimit(.minutes(1))) struct PendingErrorsOfSockets {
    /// Receives in `form` until an error or the end.
    private func trace(_ form: ReceivingForm, from socket: some MessageSocket) async
      -> [Observation]
    {
      var trace: [Observation] = []
      while true {
        let seen = await form.observe(socket, room: 1024)
        trace += seen
        if seen.contains(where: \.isLast) { return trace }
      }
    }

    @Test(arguments: ReceivingForm.allCases, [false, true])
    func aResetComesBehindWhatIsQueued(form: ReceivingForm, isPending: Bool) async throws {
      try await withDescriptorOracle { loop in
        for socket in [TestedSocket.unixSeqpacket, .unixStream] {
          let (left, right) = try socket.makeUnixPair()
          try await left.sendMessage([9])
          let tracing = Task(executorPreference: loop.taskExecutor) {
            await trace(form, from: left)
          }
          if isPending { await untilOperationsArePending(1, on: loop) }
          for number in 1...5 {
            try await right.sendMessage([UInt8(number)], descriptor: try .numbered(number))
          }
          // With an unread request, which causes a reset.
          await right.close()
          let seen = await tracing.value
          #expect(seen.flatMap(\.bytes) == [1, 2, 3, 4, 5])
          #expect(seen.flatMap(\.files) == [1, 2, 3, 4, 5])
          #expect(seen.last == .failed(.connectionReset))
          #expect(await form.observe(left, room: 16) == [.end])
          #expect(await form.observe(left, room: 16) == [.end])
          await left.close()
        }
      }
    }

    @Test func looksAndDeadlinesBeforeAReset() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        try await left.sendMessage([9])
        try await right.sendMessage([1])
        try await right.sendMessage([2])
        await right.close()
        #expect(try await left.receiveMessage(options: .peek)?.payload == [1])
        #expect(try await left.receiveMessage(options: [.peek, .doNotWait])?.payload == [1])
        #expect(try await left.receiveMessage(deadline: .now - .seconds(1))?.payload == [1])
        #expect(try await left.receiveMessage(options: .doNotWait)?.payload == [2])
        #expect(
          await codeThrown { _ = try await left.receiveMessage(options: .doNotWait) }
            == .connectionReset)
        #expect(try await left.receiveMessage() == nil)
        await left.close()
      }
    }

    @Test(arguments: ReceivingForm.allCases)
    func refusedDatagramsComeBehindThoseThatArrived(form: ReceivingForm) async throws {
      try await withDescriptorOracle { loop in
        let loopback = InternetAddress(.loopback as IPv4Address, port: 0)
        let socket = try UDPSocket.bind(to: loopback)
        let peer = try UDPSocket.bind(to: loopback)
        let address = try #require(try await socket.localAddress()?.internet)
        try await socket.connect(to: try #require(try await peer.localAddress()?.internet))
        try await peer.sendMessage([1], to: address)
        try await peer.sendMessage([2], to: address)
        await peer.close()
        try await socket.sendMessage([3])
        var trace: [Observation] = []
        while trace.count < 3 { trace += await form.observe(socket, room: 16) }
        #expect(trace == [.message([1]), .message([2]), .failed(.connectionRefused)])
        // After that, receives wait as before.
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await socket.receiveMessage()
        }
        await untilOperationsArePending(1, on: loop)
        try await expectThatTheLoopRests(loop)
        waiting.cancel()
        await #expect(throws: CancellationError.self) { _ = try await waiting.value }
        await socket.close()
      }
    }

    /// An error that has not been reported is reported, whichever of several tasks it reaches.
    @Test func aCancelledReceiveLeavesTheErrorToTheNext() async throws {
      try await withDescriptorOracle { loop in
        for round in 0..<200 {
          let (left, right) = try UnixSeqpacket.makePair()
          try await left.sendMessage([9])
          let waiting = Task(executorPreference: loop.taskExecutor) {
            try await left.receiveMessage()?.payload
          }
          if round % 2 == 0 { await untilOperationsArePending(1, on: loop) }
          waiting.cancel()
          try await right.sendMessage([1])
          await right.close()
          var seen: [Observation] = []
          do {
            if let first = try await waiting.value { seen.append(.message(first)) }
          } catch is CancellationError {
          } catch let error as SocketError { seen.append(.failed(error.code)) }
          while seen.last != .end { seen += await ReceivingForm.message.observe(left, room: 16) }
          #expect(seen == [.message([1]), .failed(.connectionReset), .end])
          await left.close()
        }
      }
    }

    /// Other peers cannot delay an error forever.
    @Test func theErrorsPatienceEnds() {
      var errors = PendingErrors()
      errors.keep(.connectionRefused)
      errors.keep(.connectionRefused)
      errors.keep(.noBufferSpace)
      for _ in 0..<20_000 { errors.noteMessage() }
      #expect(errors.isDue)
      #expect(errors.takeFirst() == .connectionRefused)
      #expect(!errors.isDue)
      #expect(errors.takeFirst() == .noBufferSpace)
      #expect(errors.isEmpty)
      #expect(errors.takeFirst() == nil)
      // An end that was found in the meantime comes after all errors.
      errors.keep(.connectionReset)
      errors.noteEnd()
      #expect(errors.isDue)
      #expect(errors.takeFirst() == .connectionReset)
      #expect(errors.isDue)
      #expect(!errors.isEmpty)
    }

    /// An empty packet reads as the end. It hides neither the error nor the messages after it.
    @Test(arguments: ReceivingForm.allCases)
    func anEmptyPacketBeforeAReset(form: ReceivingForm) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        try await left.sendMessage([9])
        try await right.sendMessage([1])
        try await right.sendMessage([])
        try await right.sendMessage([2])
        await right.close()
        var trace: [Observation] = []
        while trace.count < 5 { trace += await form.observe(left, room: 16) }
        #expect(trace == [.message([1]), .failed(.connectionReset), .end, .message([2]), .end])
        await left.close()
      }
    }

    /// Here `ENOBUFS` is the socket's own error, not a shortage of shared buffers.
    @Test(arguments: [ReceivingForm.message, .sequence, .batch, .span])
    func anOverrunOfNetlinkIsReported(form: ReceivingForm) async throws {
      try await withDescriptorOracle { loop in
        let receiver = DeclaredSocket(try Self.netlink(groups: 1), .datagram, on: loop)
        let sender = try Self.netlink(groups: 0)
        try await receiver.setOption(.receiveBufferSize, to: 4096)
        var count = 0
        for _ in 0..<100 where Self.multicast(sender) { count += 1 }
        var trace: [Observation] = []
        while trace.last?.isLast != true { trace += await form.observe(receiver, room: 1024) }
        #expect(trace.last == .failed(.outOfMemory))
        #expect(trace.count > 1)
        #expect(trace.count < 100)
        await receiver.close()
      }
    }

    /// `NETLINK_USERSOCK`: messages between processes.
    private static func netlink(groups: UInt32) throws -> OwnedFd {
      let socket = try OwnedFd.made(
        Glibc.socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | 0o2000000, 2))
      var address: [UInt32] = [UInt32(AF_NETLINK), 0, groups]
      let bound = socket.withUnsafeFileDescriptor { socket in
        address.withUnsafeMutableBytes {
          bind(socket.rawValue, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), 12)
        }
      }
      try #require(bound == 0)
      return socket
    }

    private static func multicast(_ socket: borrowing OwnedFd) -> Bool {
      var address: [UInt32] = [UInt32(AF_NETLINK), 0, 1]
      let payload = [UInt8](repeating: 7, count: 512)
      return socket.withUnsafeFileDescriptor { socket in
        address.withUnsafeMutableBytes {
          sendto(
            socket.rawValue, payload, 512, 0,
            $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), 12) == 512
        }
      }
    }
  }
}
