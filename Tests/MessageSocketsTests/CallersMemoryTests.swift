// SPDX-License-Identifier: Apache-2.0
import CAllocationCounter
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// Receives into the caller's own memory.
  @Suite struct CallersMemory {
    @Test func bytesAreAppendedAndDescriptorsOwned() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        let pipe = try Pipe()
        try await left.sendMessage([1, 2, 3], descriptor: pipe.takeWriter())
        try await left.sendMessage([4])
        let (first, second, text) = try await receiveTwo(from: right)
        #expect(first == 3)
        #expect(second == 1)
        #expect(text == [1, 2, 3, 4])
        #expect(pipe.isAtEnd)
      }
    }

    private func receiveTwo(from socket: UnixSeqpacket) async throws -> (Int?, Int?, [UInt8]) {
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 1)
      defer { memory.deallocate() }
      var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
      let first = count(try await socket.receiveMessage(into: &payload))
      let second = count(try await socket.receiveMessage(into: &payload))
      return (first, second, Array(memory[..<payload.byteCount]))
    }

    /// Applies to tasks that are not on the loop as well: after the receive has returned, nothing
    /// of it holds the socket.
    @Test func aSocketThatIsDroppedAfterAReceiveIsClosed() async throws {
      try await withDescriptorOracle { loop in
        try await Task.detached {
          let before = openDescriptors()
          for _ in 0..<200 {
            try await self.sendAndReceive(on: loop)
            #expect(openDescriptors() == before)
          }
        }.value
      }
    }

    private func sendAndReceive(on loop: IOLoop) async throws {
      let (left, right) = try UnixSeqpacket.makePair(on: loop)
      try await left.sendMessage([1])
      #expect(try await receive(upTo: 2, from: right)?.bytes == [1])
    }

    /// The rest of a message that did not fit goes to the next receive in line, not to the next one
    /// that starts.
    @Test func theRestGoesToTheNextInLine() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([0])
        var messages = right.messages.makeAsyncIterator()
        _ = try await messages.next()
        let first = Task(executorPreference: loop.taskExecutor) {
          try await self.receive(upTo: 2, from: right)?.bytes
        }
        await Task.yield()
        let second = Task(executorPreference: loop.taskExecutor) {
          try await self.receive(upTo: 2, from: right)?.bytes
        }
        await Task.yield()
        try await left.sendMessage([1, 2, 3, 4, 5])
        #expect(try await first.value == [1, 2])
        #expect(try await second.value == [3, 4])
        #expect(try await right.receiveMessage()?.payload == [5])
      }
    }

    private func count(_ parts: consuming ReceivedEnvelope?) -> Int? {
      guard let parts else { return nil }
      return parts.byteCount
    }

    @Test(arguments: [false, true])
    func whatDoesNotFit(receivesAhead: Bool) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let (from, to) = try UnixSeqpacket.makePair()
        try await to.setReceivePolicy(.reportingLoss)
        if receivesAhead {
          // Arms the multishot receives, which bring the following messages.
          try await left.sendMessage([0])
          try await from.sendMessage([0])
          var bytes = right.messages.makeAsyncIterator()
          var messages = to.messages.makeAsyncIterator()
          _ = try await bytes.next()
          _ = try await messages.next()
        }
        try await left.sendMessage([1, 2, 3, 4, 5], descriptor: try .numbered(1))
        try await from.sendMessage([1, 2, 3, 4, 5], descriptor: try .numbered(1))
        await left.close()
        await from.close()

        var descriptors = 0
        var seen: [[UInt8]] = []
        while let part = try await receive(upTo: 2, from: right) {
          seen.append(part.bytes)
          descriptors += part.descriptors
          #expect(!part.isTruncated)
        }
        #expect(seen == [[1, 2], [3, 4], [5]])
        #expect(descriptors == 1)

        let message = try #require(try await receive(upTo: 2, from: to))
        #expect(message.bytes == [1, 2])
        #expect(message.isTruncated)
        #expect(message.descriptors == 1)
        #expect(try await receive(upTo: 2, from: to) == nil)
      }
    }

    private struct Part: Equatable {
      var bytes: [UInt8]
      var descriptors: Int
      var isTruncated: Bool
    }

    private func receive(
      upTo count: Int, _ options: ReceiveOptions = [], deadline: Deadline = .never,
      from socket: some MessageSocket
    ) async throws -> Part? {
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
      defer { memory.deallocate() }
      var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
      guard
        let parts = try await socket.receiveMessage(
          into: &payload, options: options, deadline: deadline)
      else { return nil }
      let descriptors = parts.descriptors.count
      return Part(
        bytes: Array(memory[..<payload.byteCount]), descriptors: descriptors,
        isTruncated: parts.outcome.isPayloadTruncated)
    }

    /// Everything that a datagram server needs in order to answer.
    @Test(arguments: [false, true])
    func whatComesWithAMessage(receivesAhead: Bool) async throws {
      try await withDescriptorOracle { _ in
        let server = try UnixDatagram.bind(to: .autobind)
        try await server.setReceivePolicy(.reportingLoss)
        try await server.setOption(.passCredentials, to: true)
        if Self.namesProcesses { try await server.setOption(.passProcessDescriptor, to: true) }
        try await server.setOption(.timestamps, to: true)
        let address = try #require(try await server.localAddress()?.unix)
        let client = try UnixDatagram.bind(to: .autobind)
        if receivesAhead {
          var iterator = server.messages.makeAsyncIterator()
          try await client.sendMessage([0], to: address)
          #expect(try await iterator.next()?.payload == [0])
        }
        try await client.sendMessage([1, 2, 3], descriptor: try .numbered(1), to: address)
        try await client.sendMessage([4], to: address)
        try await answer(server, isCopy: true)
        try await answer(server, isCopy: false)
        #expect(try await client.receiveMessage()?.payload == [9])
        #expect(try await client.receiveMessage()?.payload == [9])
      }
    }

    /// `SO_PASSPIDFD`.
    private static let namesProcesses = KernelRelease.running >= KernelRelease(6, 5)

    private func answer(_ server: UnixDatagram, isCopy: Bool) async throws {
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 2, alignment: 1)
      defer { memory.deallocate() }
      var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
      let options: ReceiveOptions = isCopy ? [.peek, .fullLength] : []
      guard
        var parts = try await server.receiveMessage(
          into: &payload, options: options, deadline: .now + .seconds(60))
      else {
        Issue.record("a datagram socket has no end")
        return
      }
      let (count, descriptors, isTruncated) = (
        parts.byteCount, parts.descriptors.count, parts.flags.contains(.payloadTruncated)
      )
      #expect(count == (isCopy ? 3 : 2))
      #expect(descriptors == 1)
      #expect(isTruncated)
      #expect(Array(memory) == [1, 2])
      let (user, seconds) = (parts.credentials?.userID, parts.timestamp?.seconds ?? 0)
      #expect(user == getuid())
      #expect(seconds > 1_600_000_000)
      var isOurs = false
      if let process = try parts.takeProcess() {
        isOurs = process.withUnsafeFileDescriptor { $0.rawValue > 2 }
      }
      #expect(isOurs == Self.namesProcesses)
      let hasAnother = try parts.takeProcess() != nil
      #expect(!hasAnother)
      let sender = try #require(parts.sender?.unix)
      try await server.sendMessage([9], to: sender)
    }

    @Test func optionsAndDeadlines() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        #expect(
          await codeThrown { _ = try await self.receive(upTo: 2, .doNotWait, from: right) }
            == .wouldBlock)
        #expect(
          await codeThrown { _ = try await self.receive(upTo: 2, deadline: .now, from: right) }
            == .deadlineExceeded)
        try await left.sendMessage([1, 2])
        if TestLoop.unixStreamsHaveOutOfBandBytes {
          try await left.sendMessage([3], options: .outOfBand)
          #expect(try await receive(upTo: 2, .outOfBand, from: right)?.bytes == [3])
        }
        #expect(try await receive(upTo: 1, .peek, from: right)?.bytes == [1])
        #expect(try await receive(upTo: 2, deadline: .now, from: right)?.bytes == [1, 2])
      }
    }

    /// One enter serves all sockets: 64 pairs that play ping-pong need at most one enter for ten
    /// messages.
    @Test(.enabled(if: TestLoop.isOnRing, "on epoll each message is a system call"))
    func manySocketsShareTheirEnters() async throws {
      try await withOwnLoop { loop in
        let rounds = 50
        let pairs = 64
        let before = await loop.statistics
        try await withThrowingTaskGroup { group in
          for _ in 0..<pairs {
            let (left, right) = try UnixStream.makePair(on: loop)
            group.addTask(executorPreference: loop.taskExecutor) {
              for _ in 0..<rounds {
                try await left.sendMessage([1], descriptor: try .numbered(1))
                _ = try await left.receiveMessage()
              }
              await left.close()
            }
            group.addTask(executorPreference: loop.taskExecutor) {
              while let message = try await right.receiveMessage() {
                guard let file = message.takeDescriptor() else {
                  Issue.record("a descriptor is missing")
                  return
                }
                try await right.sendMessage(message.payload, descriptor: file)
              }
              await right.close()
            }
          }
          try await group.waitForAll()
        }
        let after = await loop.statistics
        let messages = Int(after.messagesReceived - before.messagesReceived)
        let bytes = UInt64(messages)
        #expect(messages == 2 * rounds * pairs)
        #expect(after.messagesSent - before.messagesSent == bytes)
        #expect(after.bytesSent - before.bytesSent == bytes)
        #expect(after.bytesReceived - before.bytesReceived == bytes)
        #expect(after.descriptorsReceived - before.descriptorsReceived == bytes)
        #expect(after.submissions - before.submissions >= 2 * bytes)
        let enters = Int(after.enters - before.enters)
        #expect(enters * 10 <= messages, "\(enters) enters for \(messages) messages")
      }
    }

    @Test func aFullSpanIsAnErrorAndNotTheEnd() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 2, alignment: 1)
        defer { memory.deallocate() }
        var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
        try await left.sendMessage([1, 2, 3])
        #expect(try await right.receiveMessage(into: &payload)?.byteCount == 2)
        var code: SocketError.Code?
        do { _ = try await right.receiveMessage(into: &payload) } catch let error as SocketError {
          code = error.code
        }
        #expect(code == .noRoom)
        payload.removeAll()
        #expect(try await right.receiveMessage(into: &payload)?.byteCount == 1)
        await left.close()
        await right.close()
      }
    }

    /// The span forms allocate nothing for a message with a descriptor, on either side, once the
    /// pools are filled.
    @Test(
      .enabled(if: cac_allocations() >= 0, "a sanitizer has taken the place of malloc"),
      .disabled(if: _isDebugAssertConfiguration(), "only optimised code is free of allocations"))
    func aMessageAllocatesNothing() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let file = try OwnedFd.openFile("/dev/null")
        _ = try await exchange(rounds: 50, left, right, file)
        let allocations = try await exchange(rounds: 1000, left, right, file)
        #expect(allocations <= 4, "\(allocations) allocations for 1000 messages")
      }
    }

    /// No allocations either if each end has its own task, so that one waits while the other sends.
    @Test(
      .enabled(if: cac_allocations() >= 0, "a sanitizer has taken the place of malloc"),
      .disabled(if: _isDebugAssertConfiguration(), "only optimised code is free of allocations"))
    func anAnswerAllocatesNothing() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let answering = Task(executorPreference: loop.taskExecutor) {
          let file = try OwnedFd.openFile("/dev/null")
          _ = try await self.exchange(rounds: 1050, right, right, file, receivesFirst: true)
        }
        let asking = Task(executorPreference: loop.taskExecutor) {
          let file = try OwnedFd.openFile("/dev/null")
          _ = try await self.exchange(rounds: 50, left, left, file)
          return try await self.exchange(rounds: 1000, left, left, file)
        }
        let allocations = try await asking.value
        try await answering.value
        // The figure includes the end of the answering task.
        #expect(allocations <= 20, "\(allocations) allocations for 1000 messages and their answers")
        await left.close()
        await right.close()
      }
    }

    /// Sends and receives alternately, at one end or at both.
    private func exchange(
      rounds: Int, _ left: UnixStream, _ right: UnixStream, _ file: borrowing OwnedFd,
      receivesFirst: Bool = false
    ) async throws -> Int64 {
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 1)
      defer { memory.deallocate() }
      let message = [UInt8](repeating: 7, count: 64)
      let before = cac_allocations()
      for _ in 0..<rounds {
        if !receivesFirst { try await left.sendMessage(message, descriptor: file) }
        var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
        let parts = try await right.receiveMessage(into: &payload)
        guard let parts, parts.byteCount == 64, parts.descriptors.count == 1 else {
          Issue.record("a message arrived in part")
          return .max
        }
        if receivesFirst { try await left.sendMessage(message, descriptor: file) }
      }
      return cac_allocations() - before
    }
  }

  @Suite struct Groups {
    @Test func acceptedConnectionsAreSpreadOverTheGroup() async throws {
      try await withOwnGroup(count: 3) { group in
        let address = try UnixAddress(abstract: Array("message-sockets-group-\(getpid())".utf8))
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: address, on: group.loops[0], connectionsOn: group)
        var loops: [ObjectIdentifier] = []
        var clients: [UnixSeqpacket] = []
        var connections: [UnixSeqpacket] = []
        for number in 0..<6 {
          let client = try await UnixSeqpacket.connect(to: address, on: group.next())
          let connection = try await listener.accept()
          loops.append(ObjectIdentifier(connection.loop))
          try await client.sendMessage([UInt8(number)], descriptor: try .numbered(number))
          let message = try #require(try await connection.receiveMessage())
          #expect(try message.takeDescriptor()?.number == number)
          clients.append(client)
          connections.append(connection)
        }
        #expect(Set(loops).count == 3)
        await listener.close()
      }
    }

    private func withOwnGroup(count: Int, _ body: (IOLoopGroup) async throws -> Void) async throws {
      let before = allDescriptors()
      try await useGroup(count: count, body)
      await untilOpenDescriptors(are: before)
    }

    private func useGroup(count: Int, _ body: (IOLoopGroup) async throws -> Void) async throws {
      let group = try IOLoopGroup(count: count)
      try await body(group)
      await group.shutdown()
    }
  }
}

/// Receives the next message into memory for `count` bytes, and returns the bytes.
func receiveBytes(upTo count: Int, from socket: some MessageSocket) async throws -> [UInt8]? {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
  defer { memory.deallocate() }
  var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
  guard try await socket.receiveMessage(into: &payload) != nil else { return nil }
  return Array(memory[..<payload.byteCount])
}
