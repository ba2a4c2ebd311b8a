// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

/// Every way to receive one message.
enum Way: CaseIterable, Sendable {
  case single, ahead, batch, intoMemory, deadline

  /// Receives a message: returns the payload's first byte, the number of descriptors, and the
  /// outcome. The descriptors are dropped.
  func receive(from socket: some MessageSocket) async throws -> (
    byte: UInt8, descriptors: Int, outcome: DeliveryStatus
  ) {
    func parts(_ message: ReceivedMessage?) throws -> (
      byte: UInt8, descriptors: Int, outcome: DeliveryStatus
    ) {
      let message = try #require(message)
      return (message.payload.first ?? 0, message.descriptorCount, message.outcome)
    }
    do {
      return try await receiveOne(from: socket, parts)
    } catch let error as SocketError where error.code == .messageIncomplete {
      return try parts(error.message)
    }
  }

  private func receiveOne(
    from socket: some MessageSocket,
    _ parts: (ReceivedMessage?) throws -> (byte: UInt8, descriptors: Int, outcome: DeliveryStatus)
  ) async throws -> (byte: UInt8, descriptors: Int, outcome: DeliveryStatus) {
    switch self {
    case .single: return try parts(try await socket.receiveMessage())
    case .deadline: return try parts(try await socket.receiveMessage(deadline: .now + .seconds(10)))
    case .batch: return try parts(try await socket.receiveMessages(upTo: 1).first)
    case .ahead:
      var iterator = socket.messages.makeAsyncIterator()
      return try parts(try await iterator.next())
    case .intoMemory: return try await receiveIntoMemory(from: socket)
    }
  }

  private func receiveIntoMemory(from socket: some MessageSocket) async throws -> (
    byte: UInt8, descriptors: Int, outcome: DeliveryStatus
  ) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 1)
    defer { memory.deallocate() }
    var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
    guard let parts = try await socket.receiveMessage(into: &payload) else {
      return (0, 0, .complete)
    }
    return (memory[0], parts.descriptors.count, parts.outcome)
  }
}

extension KernelTests {
  /// A policy applies to every way of receiving: refused descriptors are closed, and a thrown
  /// message loses nothing else.
  @Suite struct Policies {
    /// Sends one message with `count` writing ends of `pipe`.
    private func send<Socket: UnixSocket>(
      _ byte: UInt8, _ count: Int, of pipe: borrowing OwnedFd, to socket: Socket
    ) async throws {
      var descriptors = OwnedFds()
      for _ in 0..<count { descriptors.append(try pipe.duplicate()) }
      try await socket.sendMessage([byte], descriptors: descriptors.span)
    }

    @Test(arguments: TestedSocket.unix, Way.allCases)
    func surplusIsClosedAndReported(socket: TestedSocket, way: Way) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try socket.makeUnixPair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 2))
        let pipe = try Pipe()
        let before = await loop.statistics
        do {
          let writer = pipe.takeWriter()
          try await send(1, 5, of: writer, to: left)
          try await send(2, 2, of: writer, to: left)
        }
        let first = try await way.receive(from: right)
        #expect(first.descriptors == 2)
        #expect(first.outcome.surplus == 3)
        #expect(first.outcome != .complete)
        let second = try await way.receive(from: right)
        #expect(second.byte == 2)
        #expect(second.descriptors == 2)
        #expect(second.outcome == .complete)
        #expect(pipe.comesToAnEnd)
        let after = await loop.statistics
        #expect(after.descriptorsReceived - before.descriptorsReceived == 7)
        #expect(after.descriptorsRefused - before.descriptorsRefused == 3)
        await left.close()
        await right.close()
      }
    }

    /// The process descriptor closes while the error waits to be thrown.
    @Test(
      .enabled(
        if: TestLoop.receivesAhead && KernelRelease.running >= KernelRelease(6, 5),
        "nothing is received ahead, or the kernel has no SO_PASSPIDFD"))
    func anErrorThatWaitsHoldsNoProcess() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        var policy = ReceivePolicy(allowed: [.pipe])
        policy.onRefusal = .throwError
        try await right.setReceivePolicy(policy)
        try await right.setOption(.passProcessDescriptor, to: true)
        var iterator = right.messages.makeAsyncIterator()
        try await left.sendMessage([0])
        let first = try #require(try await iterator.next())
        #expect(try first.takeProcess() != nil)
        let before = await loop.statistics.messagesReceived
        try await left.sendMessage([1], descriptor: try .numbered(1))
        while await loop.statistics.messagesReceived == before { await Task.yield() }
        #expect(!openDescriptors().values.contains { $0.contains("pidfd") })
        #expect(await codeThrown { _ = try await right.receiveMessage() } == .policyViolated)
        await left.close()
        await right.close()
      }
    }

    @Test func theFirstDescriptorsAreThoseThatAreAdmitted() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 2))
        var descriptors = OwnedFds()
        for number in 0..<5 { descriptors.append(try .numbered(number)) }
        try await left.sendMessage([1], descriptors: descriptors.span)
        let message = try #require(try await right.receiveMessage())
        #expect(try message.takeDescriptor()?.number == 0)
        #expect(try message.takeDescriptor()?.number == 1)
        #expect(message.outcome.surplus == 3)
      }
    }

    @Test(arguments: Way.allCases)
    func aMessageThatThrowsIsClosedAndTheNextIsThere(way: Way) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        var policy = ReceivePolicy(maximumDescriptorsPerMessage: 2)
        policy.onSurplus = .throwError
        try await right.setReceivePolicy(policy)
        let pipe = try Pipe()
        do {
          let writer = pipe.takeWriter()
          try await send(1, 1, of: writer, to: left)
          try await send(2, 3, of: writer, to: left)
          try await send(3, 2, of: writer, to: left)
        }
        let first = try await way.receive(from: right)
        #expect(first.byte == 1)
        do {
          _ = try await way.receive(from: right)
          Issue.record("the surplus was not thrown")
        } catch let error as SocketError {
          #expect(error.code == .policyViolated)
          #expect(error.outcome?.surplus == 1)
          #expect(error.description.contains("1 descriptors too many"))
        }
        let third = try await way.receive(from: right)
        #expect(third.byte == 3)
        #expect(third.descriptors == 2)
        #expect(pipe.comesToAnEnd)
      }
    }

    @Test(arguments: [ReceivePolicy.Reaction.report, .throwError])
    func kindsThatAreNotAdmittedAreNamed(reaction: ReceivePolicy.Reaction) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        var policy = ReceivePolicy(allowed: [
          .regularFile.requiring(.read).forbidding(.write), .memoryFile(sealed: [.shrink, .grow]),
          .socket(family: .unix, kind: .stream),
        ])
        policy.onRefusal = reaction
        try await right.setReceivePolicy(policy)
        var sent = OwnedFds()
        sent.append(try .openFile("/etc/passwd"))
        sent.append(try .openFile("/dev/null"))
        sent.append(try .numbered(1))
        sent.append(try .pathOnly("/etc/passwd"))
        sent.append(try .memoryFile())
        sent.append(try .memoryFile(sealed: 0x6))
        sent.append(try .fifo())
        sent.append(try .openFile("/"))
        sent.append(try .socket(1, 1))
        sent.append(try .socket(2, 1))
        sent.append(try .event())
        try await left.sendMessage([1], descriptors: sent.span)
        try await left.sendMessage([2])
        let refused: [RefusedDescriptor]
        do {
          let message = try #require(try await right.receiveMessage())
          #expect(reaction == .report)
          refused = message.outcome.refused
          #expect(message.descriptorCount == 3)
          #expect(message.takeDescriptor()?.facts.kind == .regularFile)
          #expect(message.takeDescriptor()?.facts.kind == .memoryFile)
          #expect(message.takeDescriptor()?.facts.kind == .socket(family: 1, type: 1))
        } catch let error as SocketError {
          #expect(reaction == .throwError)
          #expect(error.code == .policyViolated)
          refused = error.outcome?.refused ?? []
        }
        #expect(refused.map(\.position) == [1, 2, 3, 4, 6, 7, 9, 10])
        #expect(
          refused.map(\.reason) == [.kind, .access, .access, .seals, .kind, .kind, .kind, .kind])
        #expect(refused[0].facts.kind == .characterDevice(major: 1, minor: 3))
        #expect(
          refused[6].description
            == "descriptor 9, a socket of family 2, type 1 (read, write), is not of a kind that is admitted"
        )
        #expect(try await right.receiveMessage()?.payload == [2])
      }
    }

    @Test func whatMessagesHoldTogetherIsBounded() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsHeld: 4))
        let pipe = try Pipe()
        let writer = pipe.takeWriter()
        for byte in 1...6 { try await send(UInt8(byte), 3, of: writer, to: left) }
        _ = consume writer
        func next() async throws -> ReceivedMessage {
          var iterator = right.messages.makeAsyncIterator()
          return try #require(try await iterator.next())
        }
        let first = try await next()
        #expect(first.descriptorCount == 3)
        let second = try await next()
        #expect(second.descriptorCount == 1)
        #expect(second.outcome.surplus == 2)
        // Taking one descriptor makes room for one; taking all makes room for the rest of that
        // message.
        _ = first.takeDescriptor()
        let third = try await next()
        #expect(third.descriptorCount == 1)
        _ = first.takeDescriptors()
        // Taken descriptors do not make room a second time.
        do { _ = consume first }
        let fourth = try await next()
        #expect(fourth.descriptorCount == 2)
        // Dropping the message makes room as well.
        do { _ = consume fourth }
        let fifth = try await next()
        #expect(fifth.descriptorCount == 2)
        #expect(fifth.outcome.surplus == 1)
        _ = consume second
        _ = consume third
        _ = consume fifth
        // Descriptors received into the caller's memory count as taken immediately.
        let sixth = try await Way.intoMemory.receive(from: right)
        #expect(sixth.descriptors == 3)
        #expect(pipe.comesToAnEnd)
      }
    }

    /// A limit below the number of descriptors that messages already hold: further descriptors are
    /// surplus, with no other effect.
    @Test func aLimitBelowWhatIsHeldAdmitsNothing() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsHeld: 4))
        let pipe = try Pipe()
        let writer = pipe.takeWriter()
        for byte in 1...3 { try await send(UInt8(byte), 2, of: writer, to: left) }
        _ = consume writer
        let first = try #require(try await right.receiveMessage())
        #expect(first.descriptorCount == 2)
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsHeld: 1))
        let second = try await Way.single.receive(from: right)
        #expect(second.descriptors == 0)
        #expect(second.outcome.surplus == 2)
        do { _ = consume first }
        let third = try await Way.single.receive(from: right)
        #expect(third.descriptors == 1)
        #expect(pipe.comesToAnEnd)
      }
    }

    @Test func truncationCanThrow() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        var policy = ReceivePolicy()
        policy.onPayloadTruncation = .throwError
        try await right.setReceivePolicy(policy)
        for receivesAhead in [false, true] {
          let pipe = try Pipe()
          let long = [UInt8](repeating: 7, count: 100)
          if receivesAhead {
            // The first message arms the multishot receive, so the second one is received ahead
            // completely, and truncated on its way to the caller.
            try await left.sendMessage([0])
            let first = try await Way.ahead.receive(from: right)
            #expect(first.byte == 0)
          }
          try await left.sendMessage(long, descriptor: pipe.takeWriter())
          let first = try await Way.intoMemory.receive(from: right)
          #expect(first.outcome.isPayloadTruncated)
          #expect(first.descriptors == 1)
          #expect(pipe.comesToAnEnd)
          try await left.sendMessage([9])
          let next = try await Way.intoMemory.receive(from: right)
          #expect(next.byte == 9)
        }
      }
    }

    @Test func missingControlDataHasAReason() async throws {
      var configuration = IOLoop.Configuration()
      configuration.controlBufferSize = 256
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try UnixSeqpacket.makePair(on: loop)
        for way in [Way.single, .ahead] {
          let pipe = try Pipe()
          do {
            let writer = pipe.takeWriter()
            try await send(1, 253, of: writer, to: left)
          }
          let message = try await way.receive(from: right)
          #expect(message.descriptors == 60)
          #expect(message.outcome.controlTruncation == .bufferFull)
          #expect(pipe.isAtEnd)
        }
        var policy = ReceivePolicy()
        policy.onControlTruncation = .throwError
        try await right.setReceivePolicy(policy)
        let pipe = try Pipe()
        do {
          let writer = pipe.takeWriter()
          try await send(1, 253, of: writer, to: left)
        }
        #expect(await codeThrown { _ = try await right.receiveMessage() } == .messageIncomplete)
        #expect(pipe.comesToAnEnd)
      }
    }

    @Test func aProcessWithoutDescriptorsIsToldSo() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        let pipe = try Pipe()
        do {
          let writer = pipe.takeWriter()
          try await send(1, 8, of: writer, to: left)
        }
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        var tight = limit
        tight.rlim_cur = rlim_t((0..<4096).filter { fcntl(Int32($0), F_GETFD) < 0 }[3])
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &tight)
        let message = await errorThrown { _ = try await right.receiveMessage() }?.message
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        #expect(message?.descriptorCount == 3)
        #expect(message?.outcome.controlTruncation == .outOfDescriptors)
      }
    }

    @Test func aPolicyOfTheIterationHoldsFromItsFirstStep() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        var policy = ReceivePolicy(maximumDescriptorsPerMessage: 1)
        policy.onSurplus = .throwError
        let pipe = try Pipe()
        do {
          let writer = pipe.takeWriter()
          for (byte, count) in [(1, 1), (2, 2), (3, 1)] {
            try await send(UInt8(byte), count, of: writer, to: left)
          }
        }
        await left.close()
        var seen: [UInt8] = []
        do {
          for try await message in right.messages(policy: policy) {
            seen.append(message.payload[0])
          }
        } catch let error as SocketError { #expect(error.code == .policyViolated) }
        #expect(seen == [1])
        for try await message in right.messages { seen.append(message.payload[0]) }
        #expect(seen == [1, 3])
        #expect(pipe.comesToAnEnd)
      }
    }

    @Test func aBatchEndsBeforeAnErrorWhichIsNotLost() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        var policy = ReceivePolicy(maximumDescriptorsPerMessage: 1, maximumDescriptorsHeld: 200)
        policy.onSurplus = .throwError
        for receivesAhead in [false, true] {
          policy.maximumDescriptorsHeld = receivesAhead ? nil : 200
          try await right.setReceivePolicy(policy)
          let pipe = try Pipe()
          do {
            let writer = pipe.takeWriter()
            for (byte, count) in [(1, 1), (2, 1), (3, 2), (4, 1)] {
              try await send(UInt8(byte), count, of: writer, to: left)
            }
          }
          var seen: [UInt8] = []
          var errors = 0
          while seen.last != 4 {
            do { seen += try await right.receiveMessages(upTo: 10).map { $0.payload[0] } } catch {
              errors += 1
            }
          }
          #expect(seen == [1, 2, 4])
          #expect(errors == 1)
          #expect(pipe.comesToAnEnd)
        }
      }
    }

    @Test func descriptorsCanBeRefusedAltogether() async throws {
      try await withDescriptorOracle { _ in
        let address = try UnixAddress(abstract: Array("message-sockets-policy-\(getpid())".utf8))
        let listener = try UnixListener<UnixSeqpacket>.bind(to: address, policy: .noDescriptors)
        let client = try await UnixSeqpacket.connect(to: address)
        let kernelRefuses =
          await codeThrown { _ = try await client.option(.passDescriptors) } == nil
        let pipe = try Pipe()
        let writer = pipe.takeWriter()
        // Even before the connection is accepted.
        let code = await codeThrown { try await send(1, 1, of: writer, to: client) }
        #expect(code == (kernelRefuses ? .notPermitted : nil))
        let connection = try await listener.accept()
        let laterCode = await codeThrown { try await send(1, 1, of: writer, to: client) }
        #expect(laterCode == (kernelRefuses ? .notPermitted : nil))
        // Simulate a kernel without the option, which delivers descriptors.
        if kernelRefuses { try await connection.setOption(.passDescriptors, to: true) }
        for _ in 0..<(kernelRefuses ? 2 : 0) { try await send(1, 1, of: writer, to: client) }
        _ = consume writer
        for _ in 0..<2 {
          let message = try #require(try await connection.receiveMessage())
          #expect(message.descriptorCount == 0)
          #expect(message.outcome.surplus == 1)
        }
        #expect(pipe.comesToAnEnd)
        try await connection.setReceivePolicy(ReceivePolicy())
        try await client.sendMessage([1], descriptor: try .event())
        #expect(try await connection.receiveMessage()?.descriptorCount == 1)
        await listener.close()
      }
    }
  }
}
