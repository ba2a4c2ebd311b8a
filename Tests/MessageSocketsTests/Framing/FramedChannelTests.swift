// SPDX-License-Identifier: Apache-2.0
import Dispatch
import MessageFraming
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import SocketEngine

/// The two ways in which a channel receives.
private let receptions: [ReceiveWindow?] = [nil, ReceiveWindow()]

private let formats = [FrameFormat.zeroTerminated(), .lengthPrefixed()]

extension KernelTests {
  @Suite(.timeLimit(.minutes(2))) struct FramedChannels {
    /// Frames with and without descriptors, all queued before the first is received.
    @Test(arguments: formats, receptions)
    func descriptorsStayWithTheirFrames(format: FrameFormat, window: ReceiveWindow?) async throws {
      try await withDescriptorOracle { _ in
        try await expectFrames(UnixStream.makePair(), format, window)
        try await expectFrames(UnixSeqpacket.makePair(), format, window)
      }
    }

    private func expectFrames<Socket: UnixConnection>(
      _ pair: (Socket, Socket), _ format: FrameFormat, _ window: ReceiveWindow?
    ) async throws {
      let sender = FramedChannel(pair.0, format: format)
      let receiver = FramedChannel(pair.1, format: format, receivingAhead: window)
      let counts = [0, 1, 0, 0, 2, 253, 0, 1]
      for (number, count) in counts.enumerated() {
        var files = OwnedFds()
        for _ in 0..<count { files.append(try OwnedFd.numbered(number)) }
        try await sender.send(Array("frame \(number)".utf8), descriptors: files.span)
      }
      await sender.close()
      var number = 0
      for try await frame in receiver.frames {
        #expect(String(decoding: frame.payload, as: UTF8.self) == "frame \(number)")
        #expect(frame.descriptorCount == counts[number])
        while let file = frame.takeDescriptor() {
          #expect(try file.number == number)
          let isCloseOnExec = file.isCloseOnExec
          #expect(isCloseOnExec)
        }
        number += 1
      }
      #expect(number == counts.count)
      await receiver.close()
    }

    /// The sender splits the bytes in every way. Descriptors go with the first byte of their frame,
    /// at the start of a send.
    @Test(arguments: receptions)
    func everyWayOfSending(window: ReceiveWindow?) async throws {
      try await withDescriptorOracle { _ in
        // A, B + 7, C, D + 8: a send begins at each set bit and at each frame with descriptors; no
        // send with descriptors extends into the next frame.
        let bytes = Array("A\0B\0C\0D\0".utf8)
        for cuts in 0..<1 << (bytes.count - 1) {
          for isQueued in [false, true] {
            let (ours, theirs) = try UnixStream.makePair()
            let channel = FramedChannel(theirs, format: .zeroTerminated(), receivingAhead: window)
            let starts =
              [0]
              + (1..<bytes.count).filter { cuts & 1 << ($0 - 1) != 0 || [2, 4, 6].contains($0) }
            async let found = isQueued ? "" : Self.summary(of: channel)
            for (start, end) in zip(starts, starts.dropFirst() + [bytes.count]) {
              let file = start == 2 || start == 6 ? try OwnedFd.numbered(start == 2 ? 7 : 8) : nil
              try await send(Array(bytes[start..<end]), file, to: ours)
            }
            await ours.close()
            let now = isQueued ? try await Self.summary(of: channel) : ""
            #expect(try await found + now == "A B7 C D8 ", "\(starts)")
            await channel.close()
          }
        }
      }
    }

    /// The receiver's memory splits the bytes: receives of 1 to 9 bytes.
    @Test(arguments: 1...9, receptions)
    func everySizeOfReceives(size: Int, window: ReceiveWindow?) async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = size
      try await withOwnLoop(configuration) { loop in
        let (ours, theirs) = try UnixStream.makePair(on: loop)
        let sender = FramedChannel(ours, format: .lengthPrefixed())
        let receiver = FramedChannel(theirs, format: .lengthPrefixed(), receivingAhead: window)
        for (text, number) in [("A", nil), ("BBB", 7), ("CCCCCCCCC", nil), ("D", 8)]
          as [(String, Int?)]
        {
          var files = OwnedFds()
          if let number { files.append(try OwnedFd.numbered(number)) }
          try await sender.send(Array(text.utf8), descriptors: files.span)
        }
        await sender.close()
        #expect(try await Self.summary(of: receiver) == "A BBB7 CCCCCCCCC D8 ")
        await receiver.close()
      }
    }

    private func send(_ bytes: [UInt8], _ file: consuming OwnedFd?, to socket: UnixStream)
      async throws
    {
      var files = OwnedFds()
      if let file { files.append(file) }
      try await socket.sendMessage(bytes, descriptors: files.span)
    }

    private static func summary(of channel: FramedChannel<UnixStream>) async throws -> String {
      var summary = ""
      for try await frame in channel.frames {
        summary += String(decoding: frame.payload, as: UTF8.self)
        while let file = frame.takeDescriptor() { summary += "\(try file.number)" }
        summary += " "
      }
      return summary
    }

    @Test(arguments: formats)
    func sendersTakeTurns(format: FrameFormat) async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        let sender = FramedChannel(ours, format: format)
        let receiver = FramedChannel(theirs, format: format)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in 1...20 {
            group.addTask {
              let payload = [UInt8](repeating: UInt8(number), count: number * 20_000)
              var files = OwnedFds()
              files.append(try OwnedFd.numbered(number))
              for _ in 0..<3 { try await sender.send(payload, descriptors: files.span) }
            }
          }
          for _ in 0..<60 {
            let frame = try #require(try await receiver.receive())
            let number = Int(try #require(frame.payload.first))
            #expect(frame.payload.count == number * 20_000)
            #expect(frame.payload.allSatisfy { $0 == UInt8(number) })
            #expect(try frame.takeDescriptor(at: 0).number == number)
          }
          try await group.waitForAll()
        }
        await sender.close()
        #expect(try await receiver.receive() == nil)
        await receiver.close()
      }
    }

    /// Nothing can follow half a frame, so the channel ends for all of its senders and receivers.
    @Test func aSenderThatIsCancelledInTheMiddle() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let sender = FramedChannel(ours, format: .lengthPrefixed(maximumSize: 8 << 20))
        let receiver = FramedChannel(theirs, format: .lengthPrefixed(maximumSize: 8 << 20))
        let pipe = try Pipe()
        let first = Task(executorPreference: loop.taskExecutor) {
          [writer = DescriptorBox(pipe.takeWriter())] in
          let descriptors = writer.take()
          try await sender.send(
            [UInt8](repeating: 1, count: 4 << 20), descriptors: descriptors.span)
        }
        await untilSendsStall(on: loop)
        let second = Task(executorPreference: loop.taskExecutor) { try await sender.send([2]) }
        let receiving = Task(executorPreference: loop.taskExecutor) { try await sender.receive() }
        await untilTasksWait(2, on: loop)
        first.cancel()
        #expect(await first.framingError == .sendInterrupted)
        #expect(await second.framingError == .sendInterrupted)
        #expect(await receiving.framingError == .sendInterrupted)
        await #expect(throws: FramingError.self) { try await sender.send([3]) }
        await sender.close()
        await #expect { try await receiver.receive() } throws: {
          ($0 as? FramingError)?.code == .endInsideFrame
        }
        await receiver.close()
        #expect(pipe.comesToAnEnd)
      }
    }

    /// A sender that waits for its turn has sent nothing, so the channel continues.
    @Test func aSenderThatIsCancelledBeforeItsTurn() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let sender = FramedChannel(ours, format: .lengthPrefixed(maximumSize: 8 << 20))
        let receiver = FramedChannel(theirs, format: .lengthPrefixed(maximumSize: 8 << 20))
        let first = Task(executorPreference: loop.taskExecutor) {
          try await sender.send([UInt8](repeating: 1, count: 4 << 20))
        }
        await untilSendsStall(on: loop)
        let second = Task.immediate(executorPreference: loop.taskExecutor) {
          try await sender.send([2])
        }
        let third = Task.immediate(executorPreference: loop.taskExecutor) {
          try await sender.send([3])
        }
        second.cancel()
        await #expect(throws: CancellationError.self) { try await second.value }
        #expect(try await receiver.receive()?.payload.count == 4 << 20)
        #expect(try await receiver.receive()?.payload == [3])
        try await first.value
        try await third.value
        await sender.close()
        await receiver.close()
      }
    }

    /// A deadline applies even while another task receives.
    @Test func aDeadlineBehindAnotherReceiver() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let channel = FramedChannel(theirs, format: .zeroTerminated())
        let first = Task(executorPreference: loop.taskExecutor) {
          try await channel.receive()?.payload
        }
        await untilTasksWait(1, on: loop)
        await #expect { try await channel.receive(deadline: .now) } throws: {
          ($0 as? SocketError)?.code == .deadlineExceeded
        }
        try await ours.sendMessage(Array("A\0B\0".utf8))
        #expect(try await first.value == Array("A".utf8)[...])
        #expect(
          try await channel.receive(deadline: .now + .seconds(10))?.payload == Array("B".utf8)[...])
        await ours.close()
        await channel.close()
      }
    }

    /// A channel that is dropped without being closed: a frame that was not taken, and half of
    /// another, close with their descriptors.
    @Test(arguments: receptions) func aChannelThatIsDropped(window: ReceiveWindow?) async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        do {
          let channel = FramedChannel(theirs, format: .zeroTerminated(), receivingAhead: window)
          try await send(Array("A\0B\0".utf8), try OwnedFd.numbered(5), to: ours)
          try await send(Array("C".utf8), try OwnedFd.numbered(6), to: ours)
          #expect(try await channel.receive()?.payload == Array("A".utf8)[...])
        }
        await ours.close()
      }
    }

    @Test(arguments: receptions)
    func aReceiveThatIsCancelledLosesNothing(window: ReceiveWindow?) async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let channel = FramedChannel(theirs, format: .zeroTerminated(), receivingAhead: window)
        // The channel holds the first half and the descriptor when the receive is cancelled.
        try await send(Array("hal".utf8), try OwnedFd.numbered(5), to: ours)
        for _ in 0..<20 {
          let cancelled = Task(executorPreference: loop.taskExecutor) {
            try await channel.receive()
          }
          await untilTasksWait(1, on: loop)
          cancelled.cancel()
          await #expect(throws: CancellationError.self) { try await cancelled.value }
        }
        await #expect { try await channel.receive(deadline: .now) } throws: {
          ($0 as? SocketError)?.code == .deadlineExceeded
        }
        try await ours.sendMessage(Array("f\0next\0last\0".utf8))
        for try await frame in channel.frames {
          #expect(try frame.takeDescriptor(at: 0).number == 5)
          #expect(String(decoding: frame.payload, as: UTF8.self) == "half")
          break
        }
        #expect(try await channel.receive()?.payload == Array("next".utf8)[...])
        // The frame `last` has been received, and is dropped with the channel.
        await ours.close()
        await channel.close()
      }
    }

    /// While the socket drains, the channel waits for the rest of a frame, but only for a limited
    /// time, even if the frame trickles in.
    @Test(arguments: [0, 1, 2], receptions)
    func aFrameThatHasBegunWhenTheSocketDrains(restKind: Int, window: ReceiveWindow?) async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let channel = FramedChannel(
          theirs, format: .zeroTerminated(maximumSize: 1 << 30), receivingAhead: window)
        try await send(Array("A\0hal".utf8), try OwnedFd.numbered(5), to: ours)
        let receiving = Task(executorPreference: loop.taskExecutor) {
          var payloads: [[UInt8]] = []
          for try await frame in channel.frames.untilDraining() {
            payloads.append(Array(frame.payload))
          }
          return payloads
        }
        await untilTasksWait(1, on: loop)
        theirs.startDraining()
        let sending = Task(executorPreference: loop.taskExecutor) {
          if restKind == 1 { try await ours.sendMessage(Array("f\0".utf8)) }
          while restKind == 2 { try await ours.sendMessage([0x20]) }
        }
        #expect(try await receiving.value == [[0x41]] + (restKind == 1 ? [Array("half".utf8)] : []))
        sending.cancel()
        _ = await sending.failure
        await ours.close()
        await channel.close()
      }
    }

    @Test func descriptorsAreGivenAwayOnceByIndex() async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        let sender = FramedChannel(ours, format: .lengthPrefixed())
        let receiver = FramedChannel(theirs, format: .lengthPrefixed())
        var files = OwnedFds()
        for number in 0..<200 { files.append(try OwnedFd.numbered(number)) }
        try await sender.send([1], descriptors: files.span)
        files.closeAll()
        let frame = try #require(try await receiver.receive())
        for index in [130, 0, 199, 64, 63, 65] {
          #expect(try frame.takeDescriptor(at: index).number == index)
        }
        #expect(throws: FramingError.self) { _ = try frame.takeDescriptor(at: 64).number }
        for index in [-1, 200, .max, .min] {
          #expect(throws: FramingError.self) { _ = try frame.takeDescriptor(at: index).number }
        }
        let second = frame.takeDescriptor()
        let secondNumber = try second?.number
        #expect(secondNumber == 1)
        var rest = frame.takeDescriptors()
        #expect(rest.count == 193)
        let (first, last) = (try rest.takeFirst()?.number, try rest.takeLast()?.number)
        #expect(first == 2 && last == 198)
        #expect(throws: FramingError.self) { _ = try frame.takeDescriptor(at: 3).number }
        let none = frame.takeDescriptor() == nil
        #expect(none)
        await sender.close()
        await receiver.close()
      }
    }

    @Test func whatCannotBeSentIsRefusedBefore() async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        let text = FramedChannel(
          ours, format: .zeroTerminated(maximumSize: 4, maximumDescriptors: 1))
        let receiver = FramedChannel(theirs, format: .zeroTerminated())
        var files = OwnedFds()
        for number in 0..<2 { files.append(try OwnedFd.numbered(number)) }
        await expectFailure(.zeroInPayload) { try await text.send([1, 0, 2]) }
        await expectFailure(.frameTooLarge) { try await text.send([1, 2, 3, 4, 5]) }
        await expectFailure(.tooManyDescriptors) {
          try await text.send([1], descriptors: files.span)
        }
        try await text.send([1, 2, 3, 4])
        #expect(try await receiver.receive()?.payload == [1, 2, 3, 4])
        await text.close()
        await receiver.close()
      }
    }

    /// The bytes of a hostile peer, and the error that ends the channel; none of the descriptors
    /// stays open.
    @Test(
      arguments: [
        ([([UInt8](repeating: 1, count: 9), 0)], .frameTooLarge),
        ([([1, 1], 1), ([1, 1, 0], 1)], .descriptorsInPieces),
        ([([1, 1], 253), ([1, 0], 1)], .descriptorsInPieces),
        ([([1, 0], 5)], .tooManyDescriptors),
        ([([1], 1)], .endInsideFrame),
      ] as [([([UInt8], Int)], FramingError.Code)])
    func whatAHostilePeerSends(pieces: [([UInt8], Int)], code: FramingError.Code) async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        let limit = pieces[0].1 == 253 ? 253 : 4
        let channel = FramedChannel(
          theirs, format: .zeroTerminated(maximumSize: 8, maximumDescriptors: limit))
        for (bytes, count) in pieces {
          var files = OwnedFds()
          for number in 0..<count { files.append(try OwnedFd.numbered(number)) }
          try await ours.sendMessage(bytes, descriptors: files.span)
        }
        try await ours.shutdown(.sending)
        await expectFailure(code) { _ = try await channel.receive() }
        await expectFailure(code) { _ = try await channel.receive() }
        await expectFailure(code) { try await channel.send([1]) }
        // The peer finds the end.
        #expect(try await ours.receiveMessage() == nil)
        await ours.close()
        await channel.close()
      }
    }

    @Test(arguments: [[1, 0, 2, 0], [1], [1, 0, 2]] as [[UInt8]])
    func aPacketThatIsNotOneFrame(bytes: [UInt8]) async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixSeqpacket.makePair()
        let channel = FramedChannel(theirs, format: .zeroTerminated())
        try await ours.sendMessage(bytes)
        await expectFailure(.notOneFrame) { _ = try await channel.receive() }
        await ours.close()
        await channel.close()
      }
    }

    /// Bytes that had arrived but were not split yet when the channel was closed do not appear
    /// afterwards.
    @Test func noFrameBehindTheEnd() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let channel = FramedChannel(theirs, format: .zeroTerminated())
        let executor = HeldExecutor()
        let receiving = Task(executorPreference: executor) {
          try await channel.receive()?.payload.count
        }
        await untilTasksWait(1, on: loop)
        executor.hold()
        try await ours.sendMessage([1, 0, 2, 0])
        // The channel has the message but has not processed it.
        while !executor.hasJobs { await Task.yield() }
        await channel.close()
        executor.release()
        #expect((await receiving.failure as? SocketError)?.code == .closed)
        await #expect { try await channel.receive() } throws: {
          ($0 as? SocketError)?.code == .closed
        }
        await ours.close()
      }
    }

    /// A policy bounds the descriptors held by frames that were returned; exceeding the bound ends
    /// the channel.
    @Test func descriptorsThatAreHeldAreBounded() async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        var policy = ReceivePolicy(maximumDescriptorsHeld: 3)
        policy.onSurplus = .throwError
        try await theirs.setReceivePolicy(policy)
        let channel = FramedChannel(theirs, format: .lengthPrefixed())
        let sender = FramedChannel(ours, format: .lengthPrefixed())
        var files = OwnedFds()
        for number in 0..<2 { files.append(try OwnedFd.numbered(number)) }
        for _ in 0..<3 { try await sender.send([1], descriptors: files.span) }
        let first = try #require(try await channel.receive())
        #expect(first.takeDescriptors().count == 2)
        let second = try #require(try await channel.receive())
        await #expect { try await channel.receive() } throws: {
          ($0 as? SocketError)?.code == .policyViolated
        }
        await #expect { try await channel.receive() } throws: {
          ($0 as? SocketError)?.code == .policyViolated
        }
        #expect(second.descriptorCount == 2)
        await sender.close()
        await channel.close()
      }
    }
  }
}

/// Runs jobs on other threads, or holds them back.
private final class HeldExecutor: TaskExecutor {
  private let held = Mutex<[UnownedJob]?>(nil)

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let isHeld = held.withLock { held in
      held?.append(job)
      return held != nil
    }
    if !isHeld { run(job) }
  }

  var hasJobs: Bool { held.withLock { $0?.isEmpty == false } }

  func hold() { held.withLock { $0 = [] } }

  func release() {
    let jobs = held.withLock { $0.take() } ?? []
    for job in jobs { run(job) }
  }

  private func run(_ job: UnownedJob) {
    DispatchQueue.global().async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}

extension DescriptorBox {
  /// Creates a box for a descriptor that a task captures.
  convenience init(_ descriptor: consuming OwnedFd) {
    var descriptors = OwnedFds()
    descriptors.append(descriptor)
    self.init(descriptors)
  }
}

extension Task where Failure == any Error {
  /// The code of the framing error that ends the task; nil if it ends otherwise.
  var framingError: FramingError.Code? {
    get async {
      do {
        _ = try await value
        return nil
      } catch { return (error as? FramingError)?.code }
    }
  }
}

func expectFailure(
  _ code: FramingError.Code, sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Void
) async {
  do {
    try await body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  } catch {
    #expect((error as? FramingError)?.code == code, "\(error)", sourceLocation: sourceLocation)
  }
}
