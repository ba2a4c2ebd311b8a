// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import MessageSockets
import Testing

@testable import SocketEngine

extension KernelTests {
  /// Tests of `stream.bytes`.
  @Suite struct Bytes {
    @Test func allBytesInOrderThenTheEnd() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let sent = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let sending = Task {
          try await left.sendMessage(sent)
          await left.close()
        }
        var received: [UInt8] = []
        for try await byte in right.bytes { received.append(byte) }
        #expect(received == sent)
        try await sending.value
      }
    }

    @Test func overTCP() async throws {
      try await withDescriptorOracle { _ in
        let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
        let client = try await TCPStream.connect(to: listener.address)
        let connection = try await listener.accept()
        try await client.sendMessage(Array("GET /\r\nrest".utf8))
        await client.close()
        #expect(try await firstLine(of: connection) == "GET /")
        #expect(try await connection.receiveMessage()?.payload == Array("rest".utf8))
        #expect(try await connection.receiveMessage() == nil)
        await connection.close()
        await listener.close()
      }
    }

    @Test func whatIsLeftOverGoesBackToTheSocket() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage(Array("a\r\nb\r\nccc\r\n".utf8))
        #expect(try await firstLine(of: right) == "a")
        try await left.sendMessage(Array("d".utf8))
        #expect(try await firstLine(of: right) == "b")
        var rest: [UInt8] = []
        while rest.count < 6 { rest += try await right.receiveMessage()?.payload ?? [] }
        #expect(rest == Array("ccc\r\nd".utf8))
      }
    }

    /// The next use of the socket hops to the loop after the bytes went back.
    @Test func itGoesBackFromAnotherThreadToo() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair(on: loop)
        for round in 0..<500 {
          try await left.sendMessage(Array("\(round)\r\nrest\(round)".utf8))
          let elsewhere = Task(executorPreference: globalConcurrentExecutor) {
            let line = try await firstLine(of: right)
            return (line, try await right.receiveMessage()?.payload)
          }
          let (line, rest) = try await elsewhere.value
          #expect(line == "\(round)")
          #expect(rest == Array("rest\(round)".utf8))
        }
      }
    }

    @Test func aReceiveThatWaitsGetsWhatComesBack() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([1, 2, 3])
        var iterator: ByteSequence<UnixStream>.AsyncIterator? = right.bytes.makeAsyncIterator()
        #expect(try await iterator?.next(isolation: #isolation) == 1)
        guard TestLoop.receivesStreamsAhead else { return }
        let waiting = Task(executorPreference: loop.taskExecutor) {
          var messages = right.messages.makeAsyncIterator()
          return try await messages.next(isolation: #isolation)?.payload
        }
        await untilTasksWait(2, on: loop)
        iterator = nil
        #expect(try await waiting.value == [2, 3])
      }
    }

    enum WaitingReceive: CaseIterable, Sendable {
      case plain, intoMemory, deadline

      func bytes(from stream: UnixStream) async throws -> [UInt8]? {
        switch self {
        case .plain: try await stream.receiveMessage()?.payload
        case .intoMemory: try await receiveBytes(upTo: 16, from: stream)
        case .deadline: try await stream.receiveMessage(deadline: .now + .seconds(60))?.payload
        }
      }
    }

    /// Any receive gets the bytes, not only a step of an iteration, and even one that is already in
    /// the kernel.
    @Test(arguments: WaitingReceive.allCases)
    func aPlainReceiveThatWaitsGetsWhatComesBack(form: WaitingReceive) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([1, 2, 3])
        // One at a time, so that the receive that follows is a request of its own.
        var iterator: ByteSequence<UnixStream>.AsyncIterator? = right.bytes(
          window: ReceiveWindow(descriptors: 1)
        ).makeAsyncIterator()
        #expect(try await iterator?.next(isolation: #isolation) == 1)
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await form.bytes(from: right)
        }
        await untilOperationsArePending(1, on: loop)
        iterator = nil
        #expect(try await waiting.value == [2, 3])
        try await left.sendMessage([4])
        #expect(try await right.receiveMessage()?.payload == [4])
      }
    }

    /// The second receive gets what the first does not take, and a peek takes nothing.
    @Test func receivesThatWaitShareWhatComesBack() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([0, 1, 2, 3, 4])
        var iterator: ByteSequence<UnixStream>.AsyncIterator? = right.bytes(
          window: ReceiveWindow(descriptors: 1)
        ).makeAsyncIterator()
        #expect(try await iterator?.next(isolation: #isolation) == 0)
        let peek = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage(options: .peek)?.payload
        }
        await untilTasksWait(1, on: loop)
        let first = Task(executorPreference: loop.taskExecutor) {
          try await receiveBytes(upTo: 2, from: right)
        }
        await untilTasksWait(2, on: loop)
        let second = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()?.payload
        }
        await untilTasksWait(3, on: loop)
        let third = Task(executorPreference: loop.taskExecutor) {
          var messages = right.messages.makeAsyncIterator()
          return try await messages.next(isolation: #isolation)?.payload
        }
        await untilTasksWait(4, on: loop)
        iterator = nil
        #expect(try await peek.value == [1, 2, 3, 4])
        #expect(try await first.value == [1, 2])
        #expect(try await second.value == [3, 4])
        try await left.sendMessage([5])
        #expect(try await third.value == [5])
      }
    }

    /// Bytes that arrive at that moment stay behind the bytes that go back, in whichever order the
    /// two happen.
    @Test(arguments: WaitingReceive.allCases)
    func laterBytesDoNotOvertake(form: WaitingReceive) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        for round in 0..<200 {
          try await left.sendMessage([1, 2, 3])
          var iterator: ByteSequence<UnixStream>.AsyncIterator? = right.bytes(
            window: ReceiveWindow(descriptors: 1)
          ).makeAsyncIterator()
          #expect(try await iterator?.next(isolation: #isolation) == 1)
          let waiting = Task(executorPreference: loop.taskExecutor) {
            try await form.bytes(from: right)
          }
          await untilOperationsArePending(1, on: loop)
          let sending = Task(executorPreference: loop.taskExecutor) {
            try await left.sendMessage([4, 5])
          }
          if round % 2 == 0 { await Task.yield() }
          iterator = nil
          var seen = try await waiting.value ?? []
          try await sending.value
          while seen.count < 4 { seen += try await right.receiveMessage()?.payload ?? [] }
          // If later bytes were received before the iterator ended, they come first: no receive was
          // waiting when the others went back.
          #expect(seen == [2, 3, 4, 5] || seen == [4, 5, 2, 3] && round % 2 == 0)
        }
      }
    }

    @Test func aPolicyHoldsFromTheFirstStepOn() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        var policy = ReceivePolicy(maximumDescriptorsPerMessage: 1)
        policy.onSurplus = .throwError
        var bytes = right.bytes(policy: policy).makeAsyncIterator()
        try await left.sendMessage([1], descriptor: try .numbered(1))
        #expect(try await bytes.next(isolation: #isolation) == 1)
        try await left.sendMessage([2], descriptors: try OwnedFds.numbered(0..<2).span)
        #expect(
          await codeThrown { _ = try await bytes.next(isolation: #isolation) } == .policyViolated)
        #expect(try await bytes.next(isolation: #isolation) == nil)
        await left.close()
        await right.close()
      }
    }

    @Test func theWindowStaysAsItWasSet() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let socket = right.channel.socket
        try await left.sendMessage([1])
        var messages = right.messages(window: ReceiveWindow(messages: 3, descriptors: 300))
          .makeAsyncIterator()
        #expect(try await messages.next()?.payload == [1])
        try await left.sendMessage([2])
        var bytes = right.bytes.makeAsyncIterator()
        #expect(try await bytes.next(isolation: #isolation) == 2)
        #expect(socket.multishot.window == ReceiveWindow(messages: 3, descriptors: 300))
        try await left.sendMessage([3])
        bytes = right.bytes(window: ReceiveWindow(messages: 5, descriptors: 1)).makeAsyncIterator()
        #expect(try await bytes.next(isolation: #isolation) == 3)
        #expect(socket.multishot.window == ReceiveWindow(messages: 5, descriptors: 1))
        let before = await loop.statistics.bytesReceived
        try await left.sendMessage([4])
        #expect(await loop.statistics.bytesReceived == before)
        #expect(try await bytes.next(isolation: #isolation) == 4)
      }
    }

    @Test func theIteratorMayOutliveTheSocket() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        try await left.sendMessage([1, 2, 3])
        var bytes = right.bytes.makeAsyncIterator()
        #expect(try await bytes.next(isolation: #isolation) == 1)
        await right.close()
        #expect(try await bytes.next(isolation: #isolation) == 2)
        _ = consume bytes
        #expect(await codeThrown { _ = try await right.receiveMessage() } == .closed)
      }
    }

    /// Descriptors close when their bytes are used up; until then some of the bytes may go back.
    @Test func descriptorsThatComeAlongAreClosed() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let pipe = try Pipe()
        try await left.sendMessage([1, 2], descriptor: pipe.takeWriter())
        #expect(!pipe.isAtEnd)
        var bytes = right.bytes.makeAsyncIterator()
        #expect(try await bytes.next(isolation: #isolation) == 1)
        #expect(!pipe.isAtEnd)
        #expect(try await bytes.next(isolation: #isolation) == 2)
        try await left.sendMessage([3])
        #expect(try await bytes.next(isolation: #isolation) == 3)
        #expect(pipe.isAtEnd)
      }
    }

    /// The next receive gets the bytes that went back, with everything that came with them.
    @Test(arguments: [false, true], WaitingReceive.allCases)
    func descriptorsGoBackWithTheirBytes(isPoliced: Bool, form: WaitingReceive) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        if isPoliced {
          try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 9))
        }
        let pipe = try Pipe()
        try await left.sendMessage(Array("GET\n".utf8))
        try await left.sendMessage(Array("FILE\n".utf8), descriptor: pipe.takeWriter())
        #expect(try await firstLine(of: right) == "GET")
        #expect(!pipe.isAtEnd)
        // Take only part of the bytes again, and then the rest.
        var iterator: ByteSequence<UnixStream>.AsyncIterator? = right.bytes.makeAsyncIterator()
        #expect(try await iterator?.next(isolation: #isolation) == UInt8(ascii: "F"))
        iterator = nil
        #expect(try await right.receiveMessage(options: .peek)?.descriptorCount == 1)
        if form == .intoMemory {
          #expect(try await form.bytes(from: right) == Array("ILE\n".utf8))
        } else {
          let message = try #require(try await right.receiveMessage())
          #expect(message.payload == Array("ILE\n".utf8))
          #expect(message.descriptorCount == 1)
          #expect(!pipe.isAtEnd)
        }
        #expect(pipe.comesToAnEnd)
        await left.close()
        await right.close()
      }
    }

    @Test func whatGoesBackToAClosedSocketIsClosed() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let pipe = try Pipe()
        try await left.sendMessage([1, 2], descriptor: pipe.takeWriter())
        var iterator: ByteSequence<UnixStream>.AsyncIterator? = right.bytes.makeAsyncIterator()
        #expect(try await iterator?.next(isolation: #isolation) == 1)
        await right.close()
        #expect(!pipe.isAtEnd)
        iterator = nil
        #expect(pipe.comesToAnEnd)
      }
    }

    @Test func anErrorOnceThenTheEnd() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let reading = Task(executorPreference: loop.taskExecutor) {
          var bytes = right.bytes.makeAsyncIterator()
          do {
            _ = try await bytes.next(isolation: #isolation)
            Issue.record("a byte that was not sent")
          } catch { #expect(error is CancellationError) }
          return try await bytes.next(isolation: #isolation)
        }
        await untilTasksWait(1, on: loop)
        reading.cancel()
        #expect(try await reading.value == nil)
        try await left.sendMessage([5])
        var bytes = right.bytes.makeAsyncIterator()
        #expect(try await bytes.next(isolation: #isolation) == 5)
      }
    }

    @Test func severalIterationsShareTheBytes() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let readers = (0..<4).map { _ in
          Task(executorPreference: loop.taskExecutor) {
            var sum = 0
            for try await byte in right.bytes { sum += Int(byte) }
            return sum
          }
        }
        for _ in 0..<1000 { try await left.sendMessage([1, 2]) }
        await left.close()
        var sum = 0
        for reader in readers { sum += try await reader.value }
        #expect(sum == 3000)
      }
    }
  }
}

/// Reads up to a carriage return and a line feed.
private func firstLine(of stream: some StreamSocket) async throws -> String {
  var line: [UInt8] = []
  for try await byte in stream.bytes {
    if byte == UInt8(ascii: "\n") { break }
    if byte != UInt8(ascii: "\r") { line.append(byte) }
  }
  return String(decoding: line, as: UTF8.self)
}
