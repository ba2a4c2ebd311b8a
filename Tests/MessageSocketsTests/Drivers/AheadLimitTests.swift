// SPDX-License-Identifier: Apache-2.0
import CRing
import CTestDescriptors
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// What a ring receives ahead if the kernel supports less: nothing before Linux 6.0, and only
  /// messages where the end of a stream gets lost (6.17 to 6.19.8).
  @Suite(
    .enabled(if: ProbeTool.machineHasRing, "io_uring is refused here"), .timeLimit(.minutes(1)))
  struct AheadLimits {
    private func withLoop(limit: AheadLimit, _ body: (IOLoop) async throws -> Void) async throws {
      var configuration = IOLoop.Configuration()
      configuration.driver = .ioUring
      configuration.aheadLimit = limit
      try await withOwnLoop(configuration) { loop in try await loop.run { try await body(loop) } }
    }

    @Test(arguments: AheadLimit.allCases) func theDriverSaysSo(limit: AheadLimit) async throws {
      try await withLoop(limit: limit) { loop in
        let driver = loop.driver
        let most = min(limit, try DriverEnvironment.aheadLimit())
        #expect(driver.receivesAhead == (most > .nothing && TestLoop.kernelReceivesAhead))
        if !driver.receivesAhead || most < .everything { #expect(!driver.receivesStreamsAhead) }
        if driver.receivesAhead, most == .everything,
          let expected = TestLoop.kernelReportsEndsOfStreams
        {
          #expect(driver.receivesStreamsAhead == expected)
        }
        if !driver.receivesStreamsAhead {
          #expect(driver.description.contains("ahead"), "\(driver)")
        }
      }
    }

    @Test(arguments: AheadLimit.allCases) func onlyWhatMayBeIsReceivedAhead(limit: AheadLimit)
      async throws
    {
      try await withLoop(limit: limit) { loop in
        for kind in TestedSocket.unix {
          let before = await loop.statistics.multishotStarts
          let (left, right) = try kind.makeUnixPair()
          try await left.sendMessage([1])
          try await expectFirstOf(right, [1])
          let isAhead = await loop.statistics.multishotStarts > before
          let driver = loop.driver
          #expect(
            isAhead == (kind == .unixStream ? driver.receivesStreamsAhead : driver.receivesAhead))
          try await left.sendMessage([2], descriptor: try .numbered(2))
          #expect(try await right.receiveMessage()?.descriptorCount == 1)
          await left.close()
          await right.close()
        }
      }
    }

    private func expectFirstOf(_ socket: some MessageSocket, _ payload: [UInt8]) async throws {
      for try await message in socket.messages {
        #expect(message.payload == payload)
        return
      }
    }

    /// Before Linux 6.0 no event tells a send that waits that its direction was shut down.
    @Test(arguments: AheadLimit.allCases, [true, false])
    func aSendThatWaitsEndsWithItsDirection(limit: AheadLimit, isOwnShutdown: Bool) async throws {
      try await expectEndOfSend(UnixStream.makePair(on:), limit, isOwnShutdown)
      try await expectEndOfSend(UnixSeqpacket.makePair(on:), limit, isOwnShutdown)
    }

    private func expectEndOfSend<Socket: UnixConnection>(
      _ makePair: (IOLoop?) throws -> (Socket, Socket), _ limit: AheadLimit, _ isOwnShutdown: Bool
    ) async throws {
      try await withLoop(limit: limit) { loop in
        let (left, right) = try makePair(loop)
        let sending = Task(executorPreference: loop.taskExecutor) {
          await errorThrown {
            while true { try await left.sendMessage([UInt8](repeating: 1, count: 100_000)) }
          }
        }
        await untilSendsStall(on: loop)
        if isOwnShutdown {
          try await left.shutdown(.sending)
        } else {
          try await right.shutdown(.receiving)
        }
        #expect(await sending.value?.code == .peerClosed)
        await left.close()
        await right.close()
      }
    }

    /// A send that waits again and again for room goes on where it was, whichever way it waits.
    @Test(arguments: AheadLimit.allCases) func aSendThatWaitsGoesOn(limit: AheadLimit) async throws
    {
      try await withLoop(limit: limit) { loop in
        let (left, right) = try UnixStream.makePair()
        let payload = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let sending = Task(executorPreference: loop.taskExecutor) {
          try await left.sendMessage(payload, descriptor: try .numbered(1))
        }
        await untilSendsStall(on: loop)
        var received: [UInt8] = []
        while received.count < payload.count {
          received += try await right.receiveMessage()?.payload ?? []
        }
        try await sending.value
        #expect(received == payload)
        await left.close()
        await right.close()
      }
    }

    enum Ending: CaseIterable { case close, shutdown }

    /// The peer sends its last bytes and closes before the ring looks: the iteration ends on every
    /// kernel.
    @Test(arguments: AheadLimit.allCases, Ending.allCases)
    func aStreamEndsWithItsLastWords(limit: AheadLimit, ending: Ending) async throws {
      try await withLoop(limit: limit) { loop in
        for _ in 0..<20 {
          let (left, right) = try UnixStream.makePair()
          let peer = try await left.release()
          let receiving = Task(executorPreference: loop.taskExecutor) {
            var bytes: [UInt8] = []
            for try await message in right.messages { bytes += message.payload }
            return bytes
          }
          await untilOperationsArePending(1, on: loop)
          // In one job, so that nothing comes between it and the loop's next turn.
          sendLastWords(on: peer, ending)
          #expect(try await receiving.value == [1])
          await right.close()
        }
      }
    }

    private func sendLastWords(on peer: consuming OwnedFd, _ ending: Ending) {
      let number = peer.release().rawValue
      #expect(send(number, [1] as [UInt8], 1, 0) == 1)
      if ending == .shutdown { Glibc.shutdown(number, Int32(SHUT_WR)) }
      Glibc.close(number)
    }

    @Test(arguments: AheadLimit.allCases) func manySmallSendsAndTheEnd(limit: AheadLimit)
      async throws
    {
      try await withLoop(limit: limit) { loop in
        let (left, right) = try UnixStream.makePair()
        let sending = Task(executorPreference: loop.taskExecutor) {
          for number in 0..<500 {
            try await left.sendMessage(
              [UInt8(truncatingIfNeeded: number)], descriptor: try .numbered(number))
          }
          await left.close()
        }
        var next = 0
        for try await message in right.messages {
          #expect(try message.takeDescriptor()?.number == next)
          next += 1
        }
        #expect(next == 500)
        var bytes = 0
        for try await _ in right.bytes { bytes += 1 }
        #expect(bytes == 0)
        try await sending.value
        await right.close()
      }
    }

    @Test func theEnvironmentsValues() throws {
      let found = try ProbeTool.run([], variables: ["MESSAGE_SOCKETS_AHEAD": "messages"])
      // If nothing can be received ahead, the driver reports that.
      let expected =
        TestLoop.kernelReceivesAhead ? "streams receive nothing ahead" : "it receives nothing ahead"
      #expect(found["driver"]?.contains(expected) == true, "\(found)")
      let wrong = try ProbeTool.run([], variables: ["MESSAGE_SOCKETS_AHEAD": "streams"])
      #expect(wrong["error"] == "invalidConfiguration", "\(wrong)")
    }

    /// The trial gives a consistent result, and leaves rings and process unchanged.
    @Test func theTrialOfTheEndLeavesNothing() throws {
      let before = openDescriptors()
      for _ in 0..<20 {
        // Uses a new ring each time: on Linux 6.1, a ring that gets new buffers for a group
        // continues at its previous position among them, so a third trial would find none of its
        // four buffers.
        let ring = try RingSetup.open(entries: 16)
        let inUse = openDescriptors()
        let traits = try StreamTrial.run(on: ring)
        let verdict = traits?.reportsEnd
        if let traits {
          #expect(traits.reportsRest == (KernelRelease.running >= KernelRelease(6, 17)))
        }
        #expect((verdict != nil) == TestLoop.kernelReceivesAhead)
        if let verdict, let expected = TestLoop.kernelReportsEndsOfStreams {
          #expect(verdict == expected)
        }
        #expect(openDescriptors() == inUse)
        try RingProbe.run(on: ring)
        cms_ring_destroy(ring)
      }
      #expect(openDescriptors() == before)
    }

    /// A ring predicts what the kernel does not report: messages that have arrived are received
    /// without polling first.
    @Test func aReceiveExpectsToWaitForAReason() {
      var waits = WaitPredictor()
      #expect(!waits.isLikely)
      waits.noteReceive(inTurn: true)
      #expect(!waits.isLikely)
      waits.noteReceive(inTurn: false)
      #expect(waits.isLikely)
      waits.noteReceive(inTurn: true)
      #expect(!waits.isLikely)
      waits.noteSend()
      #expect(waits.isLikely)
      waits.noteReceive(inTurn: true)
      #expect(!waits.isLikely)
    }

    @Test(arguments: [SocketKind.stream, .seqpacket]) func whatSocketsSayAboutIt(kind: SocketKind)
      async throws
    {
      try await withLoop(limit: .everything) { loop in
        let (left, right): (any UnixSocket, any UnixSocket) =
          kind == .stream ? try UnixStream.makePair() : try UnixSeqpacket.makePair()
        let socket = right.channel.socket
        func expects(_ kernelTells: Bool) -> Bool { socket.expectsToWait(kernelTells: kernelTells) }
        #expect(!expects(true))
        // Each message had arrived, so the next one probably has too, unless the kernel reports
        // that there is none.
        for number in 1...3 as ClosedRange<UInt8> {
          try await left.sendMessage([number])
          #expect(try await right.receiveMessage()?.payload == [number])
          #expect(expects(true) == (kind == .stream))
          #expect(!expects(false))
        }
        // The answer has not arrived yet.
        try await right.sendMessage([4])
        #expect(expects(false))
        _ = try await left.receiveMessage()
        // A receive that waited is probably followed by others that wait.
        let receiving = Task(executorPreference: loop.taskExecutor) {
          try await right.receiveMessage()?.payload
        }
        await untilOperationsArePending(1, on: loop)
        // Jobs from another thread, each of which is a turn.
        for _ in 0..<4 { _ = await Task.detached { await loop.statistics }.value }
        try await left.sendMessage([5])
        #expect(try await receiving.value == [5])
        #expect(expects(false))
        await left.close()
        await right.close()
      }
    }

    /// A ring accepts the requests of the driver and no others (`IORING_REGISTER_RESTRICTIONS`).
    @Test func aRingOpensNoFiles() throws {
      let ring = try RingSetup.open(entries: 16)
      // SAFETY: the handle is that of a ring that nothing else uses.
      #expect(ctd_ring_open_file(UnsafeMutableRawPointer(ring)) == -EACCES)
      #expect(ctd_ring_register_eventfd(UnsafeMutableRawPointer(ring)) == -EACCES)
      cms_ring_destroy(ring)
    }
  }
}
