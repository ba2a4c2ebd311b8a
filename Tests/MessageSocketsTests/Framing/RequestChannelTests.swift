// SPDX-License-Identifier: Apache-2.0
import MessageFraming
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  @Suite(.timeLimit(.minutes(2))) struct RequestChannels {
    /// Both ends make requests concurrently, with equal numbers; replies overtake each other.
    @Test func requestsInBothDirections() async throws {
      try await withDescriptorOracle { loop in
        try await both(UnixStream.makePair(), on: loop)
        try await both(UnixSeqpacket.makePair(), on: loop)
      }
    }

    private func both<Socket: UnixConnection>(_ pair: (Socket, Socket), on loop: IOLoop)
      async throws
    {
      @Sendable func answer(_ request: Frame) async throws -> Response {
        // Later requests are answered first.
        if request.payload.first! % 2 == 0 { for _ in 0..<20 { await Task.yield() } }
        return Response(Array(request.payload.reversed()), descriptors: request.takeDescriptors())
      }
      let channels = [
        RequestChannel(pair.0, handler: answer), RequestChannel(pair.1, handler: answer),
      ]
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<200 {
          group.addTask {
            var files = OwnedFds()
            if number % 3 == 0 { files.append(try OwnedFd.numbered(number)) }
            let reply = try await channels[number % 2].request(
              [UInt8(number), 1, 2], descriptors: files)
            #expect(Array(reply.payload) == [2, 1, UInt8(number)])
            #expect(reply.descriptorCount == (number % 3 == 0 ? 1 : 0))
            if number % 3 == 0 {
              let found = try reply.takeDescriptor(at: 0).number
              #expect(found == number)
            }
          }
        }
        try await group.waitForAll()
      }
      await channels[0].close()
      await #expect(throws: (any Error).self) { try await channels[1].request([1]) }
      await channels[1].close()
    }

    @Test func errorsAndCancellationReachTheOtherSide() async throws {
      try await withDescriptorOracle { loop in
        let (started, cancelled) = ([Gate(), Gate()], Gate())
        let (ours, theirs) = try UnixStream.makePair()
        let service = RequestChannel(theirs) { request in
          switch request.payload.first {
          case 0: throw RequestFailure([7, 8])
          case 1: throw Errno.ioError
          case 2:
            do { try await started[Int(request.payload.last!)].wait() } catch {
              try? await cancelled.wait()
              throw error
            }
            return Response([])
          case 3: return Response([UInt8](repeating: 0, count: 2 << 20))
          case 4: throw RequestFailure([UInt8](repeating: 0, count: 1 << 20))
          default: return Response(Array(request.payload))
          }
        }
        let client = RequestChannel(ours)
        for (request, code, payload) in [
          ([0], RequestFailure.Code.refused, [7, 8]), ([1], .failed, []), ([3], .failed, []),
          ([4], .failed, []),
        ]
          as [([UInt8], RequestFailure.Code, [UInt8])]
        {
          await #expect { try await client.request(request) } throws: { error in
            let error = error as? RequestFailure
            return error?.code == code && error?.payload == payload
          }
        }
        // The peer's handler is cancelled too, also by a deadline; later requests are answered.
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await client.request([2, 0])
        }
        await started[0].untilArrivals(are: 1)
        waiting.cancel()
        #expect(await waiting.failure is CancellationError)
        await cancelled.untilArrivals(are: 1)
        let expiring = Task(executorPreference: loop.taskExecutor) {
          try await client.request([2, 1], deadline: .now + .milliseconds(500))
        }
        await started[1].untilArrivals(are: 1)
        #expect((await expiring.failure as? SocketError)?.code == .deadlineExceeded)
        await cancelled.untilArrivals(are: 2)
        #expect(try await client.request([9]).payload == [9])
        // A channel without a handler.
        await #expect { try await service.request([1]) } throws: {
          ($0 as? RequestFailure)?.code == .notServed
        }
        await client.close()
        try await service.untilEnded()
        await service.close()
      }
    }

    /// Requests beyond the number that is handled concurrently wait; none is lost.
    @Test func aBoundOnWhatIsHandledAtOnce() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        var limits = RequestLimits()
        limits.concurrentRequests = 3
        let running = Running()
        let service = RequestChannel(theirs, limits: limits) { request in
          await running.enter()
          for _ in 0..<5 { await Task.yield() }
          await running.leave()
          return Response(Array(request.payload))
        }
        let client = RequestChannel(ours)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in 0..<100 {
            group.addTask {
              let reply = try await client.request([UInt8(number)])
              #expect(reply.payload == [UInt8(number)])
            }
          }
          try await group.waitForAll()
        }
        #expect(await running.most <= 3)
        await client.close()
        await service.close()
      }
    }

    /// Each end makes more and larger requests than the socket buffers and the handlers can take:
    /// answers do not wait behind requests, and both ends continue.
    @Test func twoEndsThatFloodEachOther() async throws {
      try await withDescriptorOracle { loop in
        try await flood(UnixStream.makePair(), on: loop)
        try await flood(UnixSeqpacket.makePair(), on: loop)
      }
    }

    private func flood<Socket: UnixConnection>(_ pair: (Socket, Socket), on loop: IOLoop)
      async throws
    {
      // One end has fewer handlers than the other has requests.
      var limits = [RequestLimits(), RequestLimits()]
      limits[1].concurrentRequests = 3
      @Sendable func answer(_ request: Frame) -> Response { Response(Array(request.payload)) }
      let channels = [
        RequestChannel(pair.0, limits: limits[0], handler: answer),
        RequestChannel(pair.1, limits: limits[1], handler: answer),
      ]
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<300 {
          group.addTask(executorPreference: loop.taskExecutor) {
            let payload = [UInt8](repeating: UInt8(number / 2), count: 50_000)
            let reply = try await channels[number % 2].request(payload)
            #expect(reply.payload == payload[...])
          }
        }
        try await group.waitForAll()
      }
      for channel in channels { await channel.close() }
    }

    /// No more requests are sent than may be unanswered. An answer lets another one go; the end
    /// releases all that wait.
    @Test func aBoundOnWhatIsUnanswered() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        var limits = RequestLimits()
        limits.unansweredRequests = 2
        let client = RequestChannel(ours, limits: limits)
        let requests = (0..<5).map { _ in
          Task(executorPreference: loop.taskExecutor) { _ = try await client.request([1]) }
        }
        let peer = FramedChannel(theirs, format: .lengthPrefixed())
        for number in 0..<2 as Range<UInt64> { #expect(try await peer.receive()?.number == number) }
        for _ in 0..<50 { await Task.yield() }
        await #expect { try await peer.receive(deadline: .now) } throws: {
          ($0 as? SocketError)?.code == .deadlineExceeded
        }
        try await theirs.sendMessage([0, 0, 0, 0, 0x81, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
        #expect(try await peer.receive()?.number == 2)
        await peer.close()
        var failures = 0
        for request in requests where await request.framingError == .connectionEnded {
          failures += 1
        }
        #expect(failures == 4)
        await client.close()
      }
    }

    /// The connection of a peer that makes more requests is closed.
    @Test func tooManyRequests() async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        var limits = RequestLimits()
        (limits.unansweredRequests, limits.concurrentRequests) = (3, 1)
        let gate = Gate()
        let channel = RequestChannel(theirs, limits: limits) { _ in
          try await gate.wait()
          return Response([])
        }
        var files = OwnedFds()
        files.append(try OwnedFd.numbered(1))
        for number in 0..<4 as Range<UInt8> {
          try await ours.sendMessage(
            [0, 0, 0, 0, 1, 1, 0, 0, number, 0, 0, 0, 0, 0, 0, 0], descriptors: files.span)
        }
        await expectFailure(.tooManyRequests) { try await channel.untilEnded() }
        await ours.close()
        await channel.close()
      }
    }

    /// A cancellation reaches handlers at the limit and waiting requests, and so does the end.
    @Test(arguments: [false, true]) func theEndReachesHandlersAtTheLimit(drains: Bool) async throws
    {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        var limits = RequestLimits()
        limits.concurrentRequests = 2
        let started = (0..<5).map { _ in Gate() }
        let cancelled = Gate()
        let service = RequestChannel(theirs, limits: limits) { request in
          do { try await started[Int(request.payload.first!)].wait() } catch {
            try? await cancelled.wait()
            throw error
          }
          return Response([])
        }
        let client = RequestChannel(ours)
        var requests: [Task<Void, any Error>] = []
        for number in 0..<5 as Range<UInt8> {
          requests.append(
            Task(executorPreference: loop.taskExecutor) { _ = try await client.request([number]) })
          if number < 2 { await started[Int(number)].untilArrivals(are: 1) }
        }
        await untilTasksRest(on: loop)
        if drains { theirs.startDraining() }
        await untilTasksRest(on: loop)
        requests[0].cancel()
        await cancelled.untilArrivals(are: 1)
        // Its place is free again.
        await started[2].untilArrivals(are: 1)
        // No answer is left unread, which would reset the connection.
        await untilTasksRest(on: loop)
        await client.close()
        try await service.untilEnded()
        await cancelled.untilArrivals(are: 3)
        for request in requests { #expect(await request.failure != nil) }
        await service.close()
      }
    }

    /// When a socket drains, pending requests are answered, even by a handler that must make a
    /// request itself to do so.
    @Test func drainingAnswersWhatWasAsked() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let gate = Gate()
        let own = OwnChannel()
        let service = RequestChannel(theirs) { request in
          try await gate.wait()
          return Response(Array(try await own.channel!.request([7]).payload + request.payload))
        }
        own.channel = service
        let client = RequestChannel(ours) { request in Response(Array(request.payload) + [8]) }
        let asked = Task(executorPreference: loop.taskExecutor) {
          try await client.request([9]).payload
        }
        await gate.untilArrivals(are: 1)
        let ending = Task(executorPreference: loop.taskExecutor) { try await service.untilEnded() }
        theirs.startDraining()
        await untilTasksRest(on: loop)
        // Later requests are not handled.
        let late = Task(executorPreference: loop.taskExecutor) { try await client.request([1]) }
        await untilTasksRest(on: loop)
        await gate.open()
        #expect(try await asked.value == [7, 8, 9])
        try await ending.value
        #expect(await late.framingError == .connectionEnded)
        own.channel = nil
        await client.close()
        await service.close()
      }
    }

    /// A cancelled wait for the end cancels no request of another task.
    @Test func aWaitForTheEndThatIsCancelled() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let client = RequestChannel(ours)
        let peer = FramedChannel(theirs, format: .lengthPrefixed())
        let request = Task(executorPreference: loop.taskExecutor) { try await client.request([1]) }
        _ = try await peer.receive()
        let waiting = Task(executorPreference: loop.taskExecutor) { try await client.untilEnded() }
        let other = Task(executorPreference: loop.taskExecutor) { try await client.untilEnded() }
        waiting.cancel()
        #expect(await waiting.failure is CancellationError)
        #expect(await other.framingError == .connectionEnded)
        #expect(await request.framingError == .connectionEnded)
        await expectFailure(.connectionEnded) { _ = try await client.request([2]) }
        await client.close()
        await peer.close()
      }
    }

    /// A channel that is dropped closes its connection, and cancels its handlers.
    @Test func aChannelThatIsDropped() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let peer = FramedChannel(ours, format: .lengthPrefixed())
        let (started, cancelled) = (Gate(), Gate())
        do {
          let channel = RequestChannel(theirs) { _ in
            do { try await started.wait() } catch { try? await cancelled.wait() }
            return Response([])
          }
          try await ours.sendMessage([0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0])
          await started.untilArrivals(are: 1)
          withExtendedLifetime(channel) {}
        }
        await cancelled.untilArrivals(are: 1)
        #expect(try await peer.receive() == nil)
        await peer.close()
        _ = loop
      }
    }

    /// A handler may refer to its own channel, which is released nevertheless when it has ended.
    @Test(arguments: [false, true]) func aHandlerThatRefersToItsChannel(peerCloses: Bool)
      async throws
    {
      try await withDescriptorOracle { _ in
        weak var dropped: RequestChannel<UnixStream>?
        let (ours, theirs) = try UnixStream.makePair()
        let client = RequestChannel(ours) { request in Response(Array(request.payload) + [8]) }
        do {
          let own = OwnChannel()
          let service = RequestChannel(theirs) { request in
            Response(Array(try await own.channel!.request([7]).payload + request.payload))
          }
          own.channel = service
          dropped = service
          #expect(try await client.request([9]).payload == [7, 8, 9])
          if peerCloses {
            await client.close()
            try await service.untilEnded()
          } else {
            await service.close()
          }
        }
        #expect(dropped == nil)
        await client.close()
      }
    }

    /// A handler that closes its own channel does not wait for itself.
    @Test func aHandlerThatClosesItsChannel() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let (own, closed) = (OwnChannel(), Gate())
        let service = RequestChannel(theirs) { _ in
          await own.channel!.close()
          try? await closed.wait()
          return Response([])
        }
        own.channel = service
        let client = RequestChannel(ours)
        let asked = Task(executorPreference: loop.taskExecutor) { try await client.request([1]) }
        await closed.untilArrivals(are: 1)
        // The answer or the end.
        _ = await asked.result
        await expectFailure(.connectionEnded) { try await service.untilEnded() }
        await service.close()
        await client.close()
      }
    }

    /// By default, abandoned requests do not end the channel, and the maximum number of unanswered
    /// requests can be abandoned.
    @Test func allRequestsAreAbandoned() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let client = RequestChannel(ours)
        let peer = FramedChannel(theirs, format: .lengthPrefixed())
        let requests = (0..<64).map { _ in
          Task(executorPreference: loop.taskExecutor) { _ = try await client.request([1]) }
        }
        for _ in requests { #expect(try await peer.receive()?.kind == .request) }
        for request in requests { request.cancel() }
        for request in requests { #expect(await request.failure is CancellationError) }
        // One request is answered, which makes room for another.
        try await theirs.sendMessage([0, 0, 0, 0, 0x81, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0])
        let last = Task(executorPreference: loop.taskExecutor) {
          try await client.request([2]).payload.count
        }
        while let frame = try await peer.receive(), frame.kind != .request {}
        try await theirs.sendMessage([0, 0, 0, 0, 0x81, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0])
        #expect(try await last.value == 0)
        await client.close()
        await peer.close()
      }
    }

    @Test func tooManyAbandonedRequests() async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        var limits = RequestLimits()
        limits.abandonedRequests = 2
        let client = RequestChannel(ours, limits: limits)
        let peer = FramedChannel(theirs, format: .lengthPrefixed())
        for _ in 1...3 {
          let request = Task(executorPreference: loop.taskExecutor) {
            try await client.request([1])
          }
          // The request was sent, after the frame that reports the previous cancellation.
          while let frame = try await peer.receive(), frame.kind != .request {}
          request.cancel()
          #expect(await request.failure is CancellationError)
        }
        await expectFailure(.tooManyAbandoned) { _ = try await client.request([1]) }
        await client.close()
        await peer.close()
      }
    }

    /// The bytes of a hostile peer, and the error that ends the channel: late replies do not count
    /// as requests, nor requests as replies.
    @Test(
      arguments: [
        ([0x00], .malformedHeader), ([0x81], .replyWithoutRequest), ([0x82], .replyWithoutRequest),
        ([0x01, 0x01], .numberInUse),
        ([0x02], nil), ([0x83], .malformedHeader),
      ] as [([UInt8], FramingError.Code?)])
    func aHostilePeer(kinds: [UInt8], code: FramingError.Code?) async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixStream.makePair()
        let gate = Gate()
        let channel = RequestChannel(theirs) { _ in
          try await gate.wait()
          return Response([])
        }
        for kind in kinds {
          // A frame without a payload, with number 7.
          try await ours.sendMessage(
            [0, 0, 0, 0, kind, 0, 0, 0] + (kind == 0 ? [] : [7, 0, 0, 0, 0, 0, 0, 0]))
        }
        try await ours.shutdown(.sending)
        do {
          try await channel.untilEnded()
          #expect(code == nil)
        } catch { #expect((error as? FramingError)?.code == code) }
        await ours.close()
        await channel.close()
      }
    }
  }
}

/// How a handler refers to its own channel.
private final class OwnChannel: Sendable {
  private let stored = Mutex<RequestChannel<UnixStream>?>(nil)

  var channel: RequestChannel<UnixStream>? {
    get { stored.withLock { $0 } }
    set { stored.withLock { $0 = newValue } }
  }
}

private actor Running {
  private var now = 0
  private(set) var most = 0

  func enter() {
    now += 1
    most = max(most, now)
  }

  func leave() { now -= 1 }
}
