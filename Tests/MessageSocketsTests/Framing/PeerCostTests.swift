// SPDX-License-Identifier: Apache-2.0
import CAllocationCounter
import Foundation
import MessageFraming
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine
@testable import Varlink

extension KernelTests {
  /// How much a peer can make this process hold: memory and open descriptors are measured while the
  /// peer misbehaves.
  @Suite(.timeLimit(.minutes(2))) struct PeerCosts {
    /// A peer makes a million calls, whose replies carry descriptors, and reads no reply.
    @Test func aMillionCallsWithoutReading() async throws {
      try await withDescriptorOracle { loop in
        let call =
          Array(#"{"method":"com.example.Test.Open","parameters":{"number":1}}"#.utf8) + [0]
        let (ours, theirs) = try UnixStream.makePair()
        let service = Fixture.service()
        try await expectBounded(on: loop, peer: ours, sends: call) {
          try await service.handle(theirs)
        }
        await theirs.close()
      }
    }

    /// A million calls, with and without a descriptor, behind a long-running call with `more`,
    /// during which calls are received ahead.
    @Test(arguments: [false, true]) func aMillionCallsBehindOneThatTakesLong(withDescriptors: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let gate = Gate()
        let (ours, theirs) = try UnixStream.makePair()
        try await ours.sendMessage(
          Array(#"{"method":"com.example.Test.Wait","parameters":{"number":1},"more":true}"#.utf8)
            + [0])
        let serving = Task(executorPreference: loop.taskExecutor) {
          try await Fixture.service(waiting: gate).handle(theirs)
        }
        await gate.untilArrivals(are: 1)
        let before = Cost.now
        let call = Array(#"{"method":"com.example.Test.Add","parameters":{"number":1}}"#.utf8) + [0]
        let sending = Task(executorPreference: loop.taskExecutor) {
          var files = OwnedFds()
          if withDescriptors { files.append(try OwnedFd.numbered(1)) }
          let calls = withDescriptors ? call : Array(repeatElement(call, count: 1000).joined())
          for _ in 0..<(withDescriptors ? 1_000_000 : 1000) {
            try await ours.sendMessage(calls, descriptors: files.span)
          }
        }
        await untilSendsStall(on: loop)
        // The descriptors of one message's limit, and of one message that is being sent.
        expect(Cost.now, within: 255, of: before)
        sending.cancel()
        _ = await sending.failure
        serving.cancel()
        _ = await serving.failure
        await ours.close()
        await theirs.close()
      }
    }

    /// A peer makes the maximum number of requests, with descriptors, and reads no reply. The
    /// descriptors are measured while handlers run, and while their replies wait. The connection of
    /// a peer that makes more requests is closed.
    @Test func aMillionRequestsWithoutReading() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let gate = Gate()
        let channel = RequestChannel(theirs) { request in
          try await gate.wait()
          return Response(
            [UInt8](repeating: 1, count: 10_000), descriptors: request.takeDescriptors())
        }
        var files = OwnedFds()
        for number in 0..<3 { files.append(try OwnedFd.numbered(number)) }
        let before = Cost.now
        for number in 0..<64 as Range<UInt64> {
          try await ours.sendMessage(
            [0, 0, 0, 0, 1, 3, 0, 0] + withUnsafeBytes(of: number.littleEndian, Array.init),
            descriptors: files.span)
        }
        await gate.untilArrivals(are: 64)
        let held = Cost.now
        expect(held, within: 3 * 64 + 8, of: before)
        #expect(held.descriptors - before.descriptors >= 3 * 64)
        await gate.open()
        await untilSendsStall(on: loop)
        let waiting = Cost.now
        expect(waiting, within: 3 * 64 + 8, of: before)
        // Some of the replies have been sent.
        #expect(waiting.descriptors - before.descriptors >= 3 * 32)
        let sending = Task(executorPreference: loop.taskExecutor) {
          for number in 64..<1_000_000 as Range<UInt64> {
            try await ours.sendMessage(
              [0, 0, 0, 0, 1, 0, 0, 0] + withUnsafeBytes(of: number.littleEndian, Array.init))
          }
        }
        await expectFailure(.tooManyRequests) { try await channel.untilEnded() }
        #expect(await sending.failure != nil)
        await ours.close()
        await channel.close()
      }
    }

    /// A peer that makes requests, shuts down its sending side and reads no answer does not delay
    /// closing.
    @Test(arguments: [false, true]) func answersThatNobodyReadsDoNotHoldUpTheEnd(isCancelled: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let channel = RequestChannel(theirs) { _ in Response([UInt8](repeating: 1, count: 60_000)) }
        for number in 0..<50 as Range<UInt64> {
          try await ours.sendMessage(
            [0, 0, 0, 0, 1, 0, 0, 0] + withUnsafeBytes(of: number.littleEndian, Array.init))
        }
        try await ours.shutdown(.sending)
        let ending = Task(executorPreference: loop.taskExecutor) { try await channel.untilEnded() }
        await untilSendsStall(on: loop)
        if isCancelled {
          ending.cancel()
          #expect(await ending.failure is CancellationError)
        } else {
          await channel.close()
          #expect(await ending.framingError == .connectionEnded)
        }
        await ours.close()
        await channel.close()
      }
    }

    /// A peer sends a million replies to one call, each with a descriptor, and the client's task
    /// takes none.
    @Test func aMillionRepliesThatAreNotTaken() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let client = VarlinkClient(theirs)
        let replies = try await client.callMore("a.b.C", returning: VarlinkEmpty.self)
        _ = try await ours.receiveMessage()
        let reply = Array(#"{"parameters":{},"continues":true}"#.utf8) + [0]
        let sending = Task(executorPreference: loop.taskExecutor) {
          var files = OwnedFds()
          files.append(try OwnedFd.numbered(1))
          for _ in 0..<1_000_000 { try await ours.sendMessage(reply, descriptors: files.span) }
        }
        let before = Cost.now
        await untilSendsStall(on: loop)
        expect(Cost.now, within: 64, of: before)
        sending.cancel()
        _ = await sending.failure
        await client.close()
        _ = replies
        await ours.close()
      }
    }

    /// An endless frame in both formats, in pieces of various sizes, is rejected at the limit.
    @Test(arguments: [1, 100, 65_536])
    func aFrameThatNeverEnds(pieceSize: Int) async throws {
      try await withDescriptorOracle { loop in
        let limit = pieceSize == 1 ? 10_000 : 1 << 20
        let (ours, theirs) = try UnixStream.makePair()
        let channel = FramedChannel(theirs, format: .zeroTerminated(maximumSize: limit))
        try await expectCutOff(
          ours, at: limit, [UInt8](repeating: 0x20, count: pieceSize), on: loop
        ) {
          _ = try await channel.receive()
        }
        await channel.close()
      }
    }

    /// An endless frame as a call to a service, and as a reply to a client.
    @Test func aMessageThatNeverEnds() async throws {
      let piece = [UInt8](repeating: 0x20, count: 65_536)
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let service = Fixture.service()
        try await expectCutOff(ours, at: 1 << 20, piece, on: loop) {
          try await service.handle(theirs)
        }
        await theirs.close()
      }
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let client = VarlinkClient(theirs)
        let call = Task(executorPreference: loop.taskExecutor) {
          try await client.call("a.b.C", json: "{}")
        }
        _ = try await ours.receiveMessage()
        try await expectCutOff(ours, at: 1 << 20, piece, on: loop) { _ = try await call.value }
        await client.close()
      }
    }

    /// A header that announces the largest possible frame costs nothing before the bytes arrive.
    @Test func aFrameThatIsAnnouncedOnly() async throws {
      try await withDescriptorOracle { loop in
        let before = Cost.now
        var peers: [UnixStream] = []
        var channels: [FramedChannel<UnixStream>] = []
        var receiving: [Task<Void, any Error>] = []
        for _ in 0..<16 {
          let (ours, theirs) = try UnixStream.makePair()
          let channel = FramedChannel(theirs, format: .lengthPrefixed(maximumSize: 64 << 20))
          try await ours.sendMessage([0, 0, 0, 4, 0, 0, 0, 0] + [1])
          receiving.append(
            Task(executorPreference: loop.taskExecutor) { _ = try await channel.receive() })
          peers.append(ours)
          channels.append(channel)
        }
        await untilTasksWait(16, on: loop)
        expect(Cost.now, within: 40, of: before)
        for peer in peers { await peer.close() }
        for task in receiving { #expect(await task.framingError == .endInsideFrame) }
        for channel in channels { await channel.close() }
      }
    }

    /// 254 descriptors for one call: one too many for a single kernel message, and in two messages
    /// they are split, which is an error. The service closes all of them.
    @Test func descriptorsBeyondTheKernelsLimit() async throws {
      try await withDescriptorOracle { _ in
        let failure = try await Fixture.runRaw { socket in
          var files = OwnedFds()
          for _ in 0..<254 { files.append(try OwnedFd.numbered(1)) }
          await #expect { try await socket.sendMessage([0x20], descriptors: files.span) } throws: {
            ($0 as? SocketError)?.code == .tooManyDescriptors
          }
          let last = files.takeFirst()
          try await socket.sendMessage([0x20], descriptors: files.span)
          var one = OwnedFds()
          if let last { one.append(last) }
          try await socket.sendMessage([0x20, 0], descriptors: one.span)
        }
        #expect((failure as? FramingError)?.code == .descriptorsInPieces)
      }
    }

    /// A peer that stops in the middle of a message delays neither a call with a deadline nor the
    /// end of a server.
    @Test func aPeerThatStopsInTheMiddle() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let client = VarlinkClient(theirs)
        let call = Task(executorPreference: loop.taskExecutor) {
          try await client.call("a.b.C", json: "{}", deadline: .now + .milliseconds(50))
        }
        _ = try await ours.receiveMessage()
        var files = OwnedFds()
        files.append(try OwnedFd.numbered(1))
        try await ours.sendMessage(Array("{".utf8), descriptors: files.span)
        #expect((await call.failure as? SocketError)?.code == .deadlineExceeded)
        await client.close()
        await ours.close()
      }
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: "stops-in-the-middle-\(getpid())")
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let serving = Task(executorPreference: loop.taskExecutor) {
          try await Fixture.service().serve(listener, ServeLimits(gracePeriod: .seconds(3600)))
        }
        let peer = try await UnixStream.connect(to: address)
        var files = OwnedFds()
        files.append(try OwnedFd.numbered(1))
        try await peer.sendMessage(Array("{".utf8), descriptors: files.span)
        serving.cancel()
        try await serving.value
        await peer.close()
      }
    }

    // MARK: Measuring

    /// Runs `body` while `peer` sends a million times without reading, and measures when the
    /// exchange has come to a halt.
    private func expectBounded(
      on loop: IOLoop, peer: UnixStream, sends call: [UInt8],
      sourceLocation: SourceLocation = #_sourceLocation,
      _ body: @escaping @Sendable () async throws -> Void
    ) async throws {
      let before = Cost.now
      let serving = Task(executorPreference: loop.taskExecutor) { try await body() }
      let calls = Array(repeatElement(call, count: 1000).joined())
      let sending = Task(executorPreference: loop.taskExecutor) {
        for _ in 0..<1000 { try await peer.sendMessage(calls) }
      }
      await untilSendsStall(on: loop)
      expect(Cost.now, within: 200, of: before, sourceLocation: sourceLocation)
      sending.cancel()
      _ = await sending.failure
      await peer.close()
      _ = await serving.failure
    }

    /// Expects that a peer that sends 64 MiB, or as many pieces as necessary, is rejected with
    /// `frameTooLarge`.
    private func expectCutOff(
      _ peer: UnixStream, at limit: Int, _ piece: [UInt8], on loop: IOLoop,
      sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
    ) async throws {
      let before = Cost.now
      let sending = Task(executorPreference: loop.taskExecutor) {
        for _ in 0..<max(1024, 2 * limit / piece.count) { try await peer.sendMessage(piece) }
      }
      await expectFailure(.frameTooLarge, sourceLocation: sourceLocation, body)
      expect(Cost.now, within: 8, of: before, sourceLocation: sourceLocation)
      // The receiver has gone.
      _ = await sending.failure
      await peer.close()
    }

    /// The memory bound is 16 MiB, far less than what the peer tried to make us hold. Sanitizers do
    /// not return free memory.
    private func expect(
      _ now: Cost, within descriptors: Int, of before: Cost,
      sourceLocation: SourceLocation = #_sourceLocation
    ) {
      if cac_allocations() >= 0 {
        #expect(now.bytes - before.bytes < 16 << 20, sourceLocation: sourceLocation)
      }
      #expect(now.descriptors - before.descriptors <= descriptors, sourceLocation: sourceLocation)
    }
  }
}

/// The resources of the process.
private struct Cost {
  /// Private memory.
  var bytes: Int
  var descriptors: Int

  static var now: Cost {
    let statm = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    let pages = statm.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return Cost(bytes: pages * Int(getpagesize()), descriptors: openDescriptors().count)
  }
}
