// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import MessageSockets
import Synchronization
import Testing

@testable import SocketEngine

extension KernelTests {
  /// Sends that can be cancelled, or expire, only before their first byte:
  /// `SendOptions.finishOnceBegun`.
  @Suite(.timeLimit(.minutes(4))) struct WholeSends {
    /// Frames of a length followed by as many bytes of one value, over a socket whose buffer takes
    /// a small part of a frame at a time.
    struct Frames {
      var expected: UInt8?
      var left = 0
      var header: [UInt8] = []
      var counts = [Int](repeating: 0, count: 256)

      static func frame(_ value: UInt8, _ length: Int) -> [UInt8] {
        [value, UInt8(length & 255), UInt8(length >> 8 & 255), UInt8(length >> 16)]
          + [UInt8](repeating: value, count: length)
      }

      mutating func take(_ bytes: [UInt8]) {
        for byte in bytes {
          if left == 0 {
            header.append(byte)
            guard header.count == 4 else { continue }
            (expected, left) = (
              header[0], Int(header[1]) | Int(header[2]) << 8 | Int(header[3]) << 16
            )
            header = []
            counts[Int(expected!)] += 1
          } else {
            #expect(byte == expected!)
            left -= 1
          }
        }
      }

      var isWhole: Bool { left == 0 && header.isEmpty }
    }

    /// Several tasks share a connection; their sends are cancelled, or expire, at arbitrary
    /// moments.
    @Test(arguments: [TestedSocket.unixStream, .tcpStream])
    func aThousandCancellationsNeverBreakAFrame(socket: TestedSocket) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await socket.makePair()
        try await left.setOption(.sendBufferSize, to: 4096)
        let reading = Task(executorPreference: loop.taskExecutor) { () -> Frames in
          var frames = Frames()
          while let message = try await right.receiveMessage() { frames.take(message.payload) }
          return frames
        }
        let outcomes = try await sendAndCancel(over: left, on: loop)
        await left.close()
        let frames = try await reading.value
        await right.close()
        #expect(frames.isWhole)
        for value in 0..<256 { #expect(frames.counts[value] == outcomes.sent[value]) }
        #expect(outcomes.stopped + outcomes.sent.reduce(0, +) == 1000)
        // Each side of the race wins sometimes.
        #expect(outcomes.stopped > 0)
        #expect(outcomes.stopped < 1000)
      }
    }

    private func sendAndCancel(over socket: some MessageSocket, on loop: IOLoop) async throws -> (
      sent: [Int], stopped: Int
    ) {
      var sent = [Int](repeating: 0, count: 256)
      var stopped = 0
      var random: UInt32 = 12
      func next(_ bound: UInt32) -> Int {
        random = random &* 1_664_525 &+ 1_013_904_223
        return Int(random >> 8 % 65_536 % bound)
      }
      for round in 0..<250 {
        // One after the other in the socket's queue: the first has begun or will begin soon.
        let tasks = (0..<4).map { index in
          let frame = Frames.frame(UInt8(truncatingIfNeeded: round * 4 + index), 1 + next(40_000))
          let deadline = index == 3 ? .now + .microseconds(next(400) - 20) : Deadline.never
          return Task(executorPreference: loop.taskExecutor) {
            try await socket.sendMessage(frame, options: .finishOnceBegun, deadline: deadline)
          }
        }
        for _ in 0..<next(12) { await Task.yield() }
        for task in tasks where next(4) > 0 { task.cancel() }
        for (index, task) in tasks.enumerated() {
          do {
            try await task.value
            sent[Int(UInt8(truncatingIfNeeded: round * 4 + index))] += 1
          } catch is CancellationError {
            stopped += 1
          } catch let error as SocketError where error.code == .deadlineExceeded {
            #expect(index == 3)
            stopped += 1
          }
        }
      }
      return (sent, stopped)
    }

    @Test func whatHasBegunIsFinishedThoughItsTaskIsCancelled() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage(
            [UInt8](repeating: 5, count: 4 << 20), descriptor: try .numbered(1),
            options: .finishOnceBegun)
        }
        await untilSendsStall(on: loop)
        sending.cancel()
        let deadline = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage([6], options: .finishOnceBegun, deadline: .now)
        }
        #expect(await codeThrown { try await deadline.value } == .deadlineExceeded)
        var received = 0
        while received < 4 << 20 {
          let message = try #require(try await right.receiveMessage())
          #expect(message.payload.allSatisfy { $0 == 5 })
          received += message.payload.count
        }
        try await sending.value
        #expect(received == 4 << 20)
        await left.close()
        #expect(try await right.receiveMessage() == nil)
        await right.close()
      }
    }

    @Test func aSendThatFindsNoRoomHasNotBegun() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        var filled = 0
        while true {
          do {
            try await left.sendMessage([UInt8](repeating: 1, count: 4096), options: .doNotWait)
            filled += 4096
          } catch let error as SocketError {
            filled += error.bytesSent
            if error.code == .wouldBlock { break }
          }
        }
        let before = await loop.operationsInKernel
        let cancelled = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage([2], options: .finishOnceBegun)
        }
        await untilOperationsArePending(before + 1, on: loop)
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        let code = await codeThrown {
          try await left.sendMessage([2], options: .finishOnceBegun, deadline: .now)
        }
        #expect(code == .deadlineExceeded)
        await left.close()
        var received = 0
        for try await message in right.messages {
          #expect(message.payload.allSatisfy { $0 == 1 })
          received += message.payload.count
        }
        #expect(received == filled)
        await right.close()
      }
    }

    /// Neither a peer that does not read nor an earlier cancellation prevents a socket from being
    /// closed.
    @Test(arguments: [false, true]) func whatHasBegunEndsWithItsSocket(isCancelled: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage(
            [UInt8](repeating: 5, count: 8 << 20), options: .finishOnceBegun)
        }
        await untilSendsStall(on: loop)
        if isCancelled { sending.cancel() }
        for _ in 0..<20 { await Task.yield() }
        await left.close()
        let error = await errorThrown { try await sending.value }
        #expect(error?.code == .partialSend)
        #expect((error?.bytesSent ?? 0) > 0)
        await right.close()
      }
    }

    @Test(arguments: [false, true])
    func whatHasBegunEndsWithItsLoop(isCancelled: Bool) async throws {
      try await withOwnLoop { loop in
        let (left, right) = try UnixStream.makePair(on: loop)
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage(
            [UInt8](repeating: 5, count: 8 << 20), options: .finishOnceBegun)
        }
        await untilSendsStall(on: loop)
        if isCancelled { sending.cancel() }
        await loop.shutdown()
        #expect(await codeThrown { try await sending.value } == .partialSend)
        await left.close()
        await right.close()
      }
    }

    @Test func whatHasBegunEndsWithItsPeer() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage(
            [UInt8](repeating: 5, count: 8 << 20), options: .finishOnceBegun)
        }
        await untilSendsStall(on: loop)
        sending.cancel()
        await right.close()
        let code = await codeThrown { try await sending.value }
        #expect([.peerClosed, .connectionReset].contains(code))
        await left.close()
      }
    }

    /// `doNotWait` applies only before the first byte.
    @Test func doNotWaitIsForTheFirstByte() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage(
            [UInt8](repeating: 5, count: 4 << 20), options: [.finishOnceBegun, .doNotWait])
        }
        var received = 0
        while received < 4 << 20 {
          received += try #require(try await right.receiveMessage()).payload.count
        }
        try await sending.value
        await left.close()
        await right.close()
      }
    }

    /// Every form that takes a deadline: on a full socket of each kind nothing is sent, and later
    /// sends succeed.
    @Test(arguments: [TestedSocket.unixStream, .unixSeqpacket, .unixDatagram])
    func everyFormGivesUpAtItsDeadline(socket: TestedSocket) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try socket.makeUnixPair()
        var filled = 0
        while await codeThrown(by: { try await left.sendMessage([1], options: .doNotWait) })
          != .wouldBlock
        { filled += 1 }
        let file = try OwnedFd.numbered(1)
        var files = OwnedFds()
        files.append(try OwnedFd.numbered(2))
        let payload: [UInt8] = [2]
        var codes: [SocketError.Code?] = []
        codes.append(await codeThrown { try await left.sendMessage(payload, deadline: .now) })
        codes.append(
          await codeThrown {
            try await left.sendMessage(payload.span.bytes, deadline: .now - .seconds(1))
          })
        codes.append(
          await codeThrown { try await left.sendMessage(payload, descriptor: file, deadline: .now) }
        )
        codes.append(
          await codeThrown {
            try await left.sendMessage(payload, descriptors: files.span, deadline: .now)
          })
        #expect(codes == [SocketError.Code?](repeating: .deadlineExceeded, count: 4))
        for _ in 0..<filled {
          let received = try #require(try await right.receiveMessage(options: .peek)).payload
          #expect(received.allSatisfy { $0 == 1 })
          _ = try await right.receiveMessage()
          if socket == .unixStream { break }
        }
        // If there is room, an expired deadline does not matter.
        try await left.sendMessage([3], deadline: .now - .seconds(1))
        #expect(try await right.receiveMessage()?.payload.last == 3)
        await left.close()
        await right.close()
      }
    }
  }
}
