// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import ServiceManagement

/// The events that a hand-over reports to its observer; a test can wait for them.
final class Events: Sendable {
  private let stream = AsyncStream.makeStream(of: String.self)

  var observer: @Sendable (HandOverEvent) -> Void {
    { self.stream.continuation.yield("\($0)") }
  }

  func add(_ event: String) { stream.continuation.yield(event) }

  /// Waits for an event whose text begins with `name`; all events before it have then occurred.
  func wait(for name: String) async {
    for await event in stream.stream where event.hasPrefix(name) { return }
  }
}

/// A successor whose steps the test performs one by one.
struct ManualSuccessor: ~Copyable {
  let link: HandOverLink
  var descriptors = OwnedFds()
  private var state = 0
  private let wanted: (descriptors: Int, state: Int)

  static func connect(to address: UnixAddress) async throws -> ManualSuccessor {
    let link = HandOverLink(socket: try await UnixSeqpacket.connect(to: address))
    try await link.send(.hello(protocolVersion: 1, stateVersion: 0), within: .seconds(20))
    let offer = try await link.next(within: .seconds(20), for: "offer").message
    guard case .offer(_, let count, let length) = offer else { throw Errno.badMessage }
    return ManualSuccessor(link, (Int(count), Int(length)))
  }

  private init(_ link: HandOverLink, _ wanted: (descriptors: Int, state: Int)) {
    self.link = link
    self.wanted = wanted
  }

  /// Receives the next batch, or the next piece of the state.
  mutating func receive() async throws {
    let arrival = try await link.next(within: .seconds(20), for: "more")
    if case .state(let bytes) = arrival.message {
      state += bytes.count
    } else {
      var arrived = arrival.received.takeDescriptors()
      while let descriptor = arrived.takeFirst() { descriptors.append(descriptor) }
    }
  }

  func acknowledge() async throws {
    try await link.send(.received(UInt32(descriptors.count)), within: .seconds(20))
  }

  /// Receives everything, and "go".
  mutating func takeOver() async throws {
    while descriptors.count < wanted.descriptors {
      try await receive()
      try await acknowledge()
    }
    while state < wanted.state { try await receive() }
    try await link.send(.ready, within: .seconds(20))
    let message = try await link.next(within: .seconds(20), for: "go").message
    #expect(message == .go)
  }
}

extension KernelTests {
  /// Which process owns the sessions, listeners and files at each moment of a failed hand-over. All
  /// of the roles run in this process, which lives on, so only the messages decide.
  @Suite(.timeLimit(.minutes(2))) struct HandOverOwnershipTests {
    /// A predecessor with a session, and with a listener at a path at which it answers.
    private struct Predecessor {
      let control: UnixAddress
      let path: UnixAddress
      let events: Events
      let client: UnixStream
      /// The names of the items that came back; nil if none did.
      let takenBack: TakenBack
      let running: Task<HandOver.Ending, any Error>

      var fileIsThere: Bool { access("\(path.path!)", F_OK) == 0 }

      func ask() async throws -> String {
        let socket = try await UnixStream.connect(to: path)
        let answer = try await socket.receiveMessage(deadline: .now + .seconds(10))?.payload ?? []
        await socket.close()
        return String(decoding: answer, as: UTF8.self)
      }

      func expectsAnswer(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let answer = try await ask()
        #expect(answer == "first", sourceLocation: sourceLocation)
      }

      func ends(_ ending: HandOver.Ending, sourceLocation: SourceLocation = #_sourceLocation)
        async throws
      {
        let found = try await running.value
        #expect(found == ending, sourceLocation: sourceLocation)
      }
    }

    private final class TakenBack: Sendable {
      private let items = Mutex<[String]?>(nil)
      var names: [String]? { items.withLock { $0 } }
      func add(_ names: [String]) { items.withLock { $0 = names } }
    }

    private func withPredecessor(
      step: Duration = .seconds(20), initialization: Duration = .seconds(20), files: Int = 0,
      state: Int = 3, takingBackUntil end: AsyncStream<Never>? = nil,
      _ body: (Predecessor, IOLoop) async throws -> Void
    ) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { loop in
          let directory = path.removingLastComponent()
          var limits = HandOverLimits()
          limits.step = step
          limits.initialization = initialization
          let events = Events()
          let takenBack = TakenBack()
          let (client, session) = try UnixStream.makePair()
          let handOver = try await HandOver.begin(
            at: UnixAddress(path: path), limits: limits, observer: events.observer)
          let local = try UnixListener<UnixStream>.bind(
            to: UnixAddress(path: directory.appending("local")))
          let running = Task(executorPreference: loop.taskExecutor) {
            try await handOver.run {
              var items = HandOverItems()
              try await items.descriptors.append(duplicateOf: local, named: "local")
              // A second successor finds the session gone.
              if let session = try? await session.release() {
                try items.descriptors.append(session, named: "session")
              }
              for number in 0..<files {
                try items.descriptors.append(.numbered(number), named: "file")
              }
              items.state = Array(repeating: 1, count: state)
              return items
            } takingBack: {
              takenBack.add($0.descriptors.names)
              events.add("takenBack")
              if let end { for await _ in end {} }
            } serving: { announce in
              announce()
              try await local.serve { try await $0.sendMessage(Array("first".utf8)) }
            }
          }
          let predecessor = Predecessor(
            control: handOver.address, path: local.address, events: events, client: client,
            takenBack: takenBack, running: running)
          try await body(predecessor, loop)
          running.cancel()
          _ = try await running.value
          await client.close()
        }
      }
    }

    /// The client of the session gets answers only from this process.
    private func answer(_ descriptors: inout OwnedFds, _ predecessor: Predecessor) async throws {
      // The control listener and the other listener come first.
      _ = descriptors.takeFirst()
      _ = descriptors.takeFirst()
      guard let descriptor = descriptors.takeFirst() else { throw Errno.badFileDescriptor }
      let session = try UnixStream(adopting: descriptor)
      try await session.sendMessage(Array("second".utf8))
      await session.close()
      #expect(try await predecessor.client.receiveMessage()?.payload == Array("second".utf8))
      #expect(try await predecessor.client.receiveMessage() == nil)
    }

    // MARK: The predecessor is cancelled

    /// The successor may serve what it was sent, and is notified of that. Only the rest comes back.
    @Test(arguments: [(false, 49), (true, 0)])
    func beforeGoACancelledPredecessorGetsBackWhatItHasNotSent(isAcknowledged: Bool, left: Int)
      async throws
    {
      try await withPredecessor(files: 300) { predecessor, _ in
        var successor = try await ManualSuccessor.connect(to: predecessor.control)
        try await successor.receive()
        try await successor.acknowledge()
        // A listener, a session and 251 files.
        try await successor.receive()
        if isAcknowledged {
          try await successor.acknowledge()
          try await successor.receive()
        }
        predecessor.running.cancel()
        try await predecessor.ends(.ended)
        #expect(predecessor.takenBack.names == Array(repeating: "file", count: left))
        #expect(predecessor.fileIsThere)
        await #expect {
          while true { _ = try await successor.link.next(within: .seconds(20), for: "refusal") }
        } throws: {
          ($0 as? ServiceError)?.code == .predecessorEnds
        }
        try await answer(&successor.descriptors, predecessor)
        await successor.link.socket.close()
      }
    }

    /// The predecessor is cancelled when there is no room for more of its state: its message waits
    /// for room, and what it has sent stays open until then.
    @Test func amidItsStateACancelledPredecessorSaysSo() async throws {
      try await withPredecessor(state: 4 << 20) { predecessor, loop in
        var successor = try await ManualSuccessor.connect(to: predecessor.control)
        try await Self.cancel(predecessor, amidItsStateFor: &successor, on: loop)
        await #expect {
          while true { _ = try await successor.link.next(within: .seconds(20), for: "refusal") }
        } throws: {
          ($0 as? ServiceError)?.code == .predecessorEnds
        }
        try await predecessor.ends(.ended)
        #expect(predecessor.takenBack.names == [])
        #expect(predecessor.fileIsThere)
        try await answer(&successor.descriptors, predecessor)
        await successor.link.socket.close()
      }
    }

    /// Cancels the predecessor when there is no room for more of its state, and checks that it
    /// waits.
    private static func cancel(
      _ predecessor: Predecessor, amidItsStateFor successor: inout ManualSuccessor, on loop: IOLoop
    ) async throws {
      for _ in 0..<2 {
        try await successor.receive()
        try await successor.acknowledge()
      }
      for _ in 0..<5000 where !aQueueIsFull { try await loop.sleep(for: .milliseconds(2)) }
      #expect(aQueueIsFull)
      predecessor.running.cancel()
      // If it did not wait, it would have finished by then, and its message would be lost.
      try await loop.sleep(for: .milliseconds(100 * slowness))
      #expect(predecessor.takenBack.names == nil)
    }

    /// Whether the queue of a seqpacket socket of this process is full.
    private static var aQueueIsFull: Bool {
      (0..<Int32(1024)).contains { descriptor in
        var type: Int32 = 0
        var room: Int32 = 0
        var waiting: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) == 0
          && type == Int32(SOCK_SEQPACKET.rawValue)
          && getsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &room, &length) == 0
          && ioctl(descriptor, UInt(TIOCOUTQ), &waiting) == 0 && waiting >= room
      }
    }

    /// Only the control listener was sent: everything else comes back, and the file goes with its
    /// listener.
    @Test func atTheOfferACancelledPredecessorGetsBackAll() async throws {
      try await withPredecessor { predecessor, _ in
        let socket = try await UnixSeqpacket.connect(to: predecessor.control)
        let link = HandOverLink(socket: socket)
        // The control listener is sent now, and nothing more until it is acknowledged.
        try await link.send(.hello(protocolVersion: 1, stateVersion: 0), within: .seconds(20))
        await predecessor.events.wait(for: "batchSent(1)")
        predecessor.running.cancel()
        try await predecessor.ends(.ended)
        #expect(predecessor.takenBack.names == ["local", "session"])
        #expect(!predecessor.fileIsThere)
        await socket.close()
      }
    }

    /// The message waits for room when the successor's process ends, so no other process has the
    /// items that were sent.
    @Test(
      .enabled(
        if: KernelRelease.running >= KernelRelease(6, 5) && ForeignPeer.python.isAvailable,
        "who has connected cannot be watched before Linux 6.5, or python3 is not installed"))
    func aCancelledPredecessorGetsBackWhatADeadSuccessorHas() async throws {
      try await withPredecessor(files: 300, state: 4 << 20) { predecessor, loop in
        var command = ServiceCommand(
          "/usr/bin/env",
          arguments: [
            "python3", ForeignPeer.script("hand_over_peer.py"), "hold", "\(predecessor.control)",
          ])
        let successor = try await RunningTool(&command)
        try await successor.lines(until: "holding 303 descriptors")
        for _ in 0..<5000 where !Self.aQueueIsFull { try await loop.sleep(for: .milliseconds(2)) }
        #expect(Self.aQueueIsFull)
        predecessor.running.cancel()
        // As above: wait until the message waits for room.
        try await loop.sleep(for: .milliseconds(100 * slowness))
        #expect(predecessor.takenBack.names == nil)
        try successor.process.signal(SIGKILL)
        try await predecessor.ends(.ended)
        #expect(
          predecessor.takenBack.names == ["local", "session"]
            + Array(repeating: "file", count: 300))
        #expect(!predecessor.fileIsThere)
        _ = try await successor.linesToEnd()
        #expect(try await successor.process.end() == .signalled(SIGKILL))
      }
    }

    /// The successor refuses at that moment, so it serves nothing of what it has.
    @Test func aCancelledPredecessorGetsBackWhatARefusingSuccessorHas() async throws {
      try await withPredecessor(state: 4 << 20) { predecessor, loop in
        var successor = try await ManualSuccessor.connect(to: predecessor.control)
        try await Self.cancel(predecessor, amidItsStateFor: &successor, on: loop)
        await successor.link.refuse(.other, "no")
        await successor.link.socket.close()
        try await predecessor.ends(.ended)
        #expect(predecessor.takenBack.names == ["local", "session"])
        #expect(!predecessor.fileIsThere)
      }
    }

    /// The successor may serve, so the predecessor counts as replaced, and tells it that at the
    /// end.
    @Test func afterGoACancelledPredecessorIsReplaced() async throws {
      try await withPredecessor { predecessor, _ in
        var successor = try await ManualSuccessor.connect(to: predecessor.control)
        try await successor.takeOver()
        predecessor.running.cancel()
        try await predecessor.ends(.replaced)
        #expect(predecessor.takenBack.names == nil)
        #expect(predecessor.fileIsThere)
        let last = try await successor.link.next(within: .seconds(20), for: "end").message
        #expect(last == .drained)
        try await answer(&successor.descriptors, predecessor)
        await successor.link.socket.close()
      }
    }

    // MARK: The successor is silent, or sends something else

    /// As before Linux 6.5, where neither messages nor sockets have process descriptors.
    @Test func anotherProcessIsWatchedByItsNumber() async throws {
      try await withDescriptorOracle { loop in
        let child = try ChildProcess(["sleep", "60"])
        let process = try OtherProcess(number: child.id)
        #expect(try await !process.ends(within: .zero, on: loop))
        kill(child.id, SIGKILL)
        #expect(try await process.ends(within: .seconds(20), on: loop))
        #expect(await child.end() == -SIGKILL)
        #expect(throws: Errno.noSuchProcess) { _ = try OtherProcess(number: child.id) }
        guard case .unknown = try OtherProcess(number: nil) else {
          Issue.record("a process without a number is known")
          return
        }
      }
    }

    enum Silence: CaseIterable { case end, nothing, garbage }

    /// After "go" the successor may serve as long as it lives, whatever it sends.
    @Test(arguments: Silence.allCases)
    func afterGoASuccessorThatLivesKeepsWhatItHas(silence: Silence) async throws {
      let limit = Duration.milliseconds(500 * slowness)
      try await withPredecessor(step: limit, initialization: limit) { predecessor, _ in
        var successor = try await ManualSuccessor.connect(to: predecessor.control)
        try await successor.takeOver()
        switch silence {
        case .end: await successor.link.socket.close()
        case .nothing: break
        case .garbage: try await successor.link.send(.ready, within: .seconds(20))
        }
        await predecessor.events.wait(for: "successorSilent")
        try await predecessor.ends(.replaced)
        #expect(predecessor.takenBack.names == nil)
        #expect(predecessor.fileIsThere)
        try await answer(&successor.descriptors, predecessor)
        await successor.link.socket.close()
      }
    }

    /// The successor reports that it serves nothing.
    @Test func afterGoARefusalBringsBackAll() async throws {
      try await withPredecessor { predecessor, _ in
        var successor = try await ManualSuccessor.connect(to: predecessor.control)
        try await successor.takeOver()
        await successor.link.refuse(.other, "no")
        await predecessor.events.wait(for: "failed(refused: no)")
        await predecessor.events.wait(for: "takenBack")
        #expect(predecessor.takenBack.names == ["local", "session"])
        try await predecessor.expectsAnswer()
        await successor.link.socket.close()
      }
    }

    /// `takingBack` may serve connections as long as they live. Meanwhile the next successor may
    /// connect, and this process has drained when the connections have ended.
    @Test func takingBackKeepsNoSuccessorWaiting() async throws {
      let (held, holding) = AsyncStream.makeStream(of: Never.self)
      try await withPredecessor(takingBackUntil: held) { predecessor, _ in
        let failing = try await ManualSuccessor.connect(to: predecessor.control)
        await failing.link.socket.close()
        await predecessor.events.wait(for: "takenBack")
        #expect(predecessor.takenBack.names == ["local", "session"])
        var next = try await ManualSuccessor.connect(to: predecessor.control)
        try await next.takeOver()
        try await next.link.send(.serving, within: .seconds(20))
        await predecessor.events.wait(for: "successorServing")
        holding.finish()
        let last = try await next.link.next(within: .seconds(20), for: "end").message
        #expect(last == .drained)
        try await predecessor.ends(.replaced)
        await next.link.socket.close()
      }
    }

    // MARK: The successor announces

    /// Both processes have the listener. Until the successor announces, the predecessor accepts
    /// connections and owns the file.
    @Test func thePredecessorServesUntilTheSuccessorAnnounces() async throws {
      try await withPredecessor { predecessor, _ in
        let events = Events()
        let successor = try await HandOver.begin(at: predecessor.control, observer: events.observer)
        var inherited = successor.takeInherited()
        let local = try inherited.descriptors.takeListener(named: "local", of: UnixStream.self)
        let ending = try await successor.run {
          HandOverItems()
        } serving: { announce in
          for _ in 0..<20 { try await predecessor.expectsAnswer() }
          await local.close()
          #expect(predecessor.fileIsThere)
          try await predecessor.expectsAnswer()
          announce()
          await predecessor.events.wait(for: "successorServing")
          try await predecessor.ends(.replaced)
          await events.wait(for: "predecessorDrained")
          // The file belongs to the successor now, but it has closed the listener, so the file is
          // gone.
          #expect(!predecessor.fileIsThere)
        }
        #expect(ending == .ended)
        #expect(predecessor.takenBack.names == nil)
      }
    }

    enum End: CaseIterable { case returns, throwsError, isCancelled }
    private struct Failure: Error {}

    /// The predecessor continues to serve, with everything that it had.
    @Test(arguments: End.allCases) func aSuccessorThatEndsBeforeItAnnounces(end: End) async throws {
      try await withPredecessor { predecessor, loop in
        let successor = try await HandOver.begin(at: predecessor.control)
        var inherited = successor.takeInherited()
        let local = try inherited.descriptors.takeListener(named: "local", of: UnixStream.self)
        let running = Task(executorPreference: loop.taskExecutor) {
          try await successor.run {
            HandOverItems()
          } serving: { announce in
            switch end {
            case .returns: break
            case .throwsError: throw Failure()
            case .isCancelled: try await loop.sleep(for: .seconds(1000))
            }
          }
        }
        if end == .isCancelled {
          await predecessor.events.wait(for: "goSent")
          running.cancel()
        }
        let outcome = await running.result
        switch end {
        case .throwsError: #expect(throws: Failure.self) { try outcome.get() }
        case .returns:
          let ending = try outcome.get()
          #expect(ending == .ended)
        case .isCancelled:
          // Before or after "go" has arrived.
          let ending = (try? outcome.get()) ?? .ended
          #expect(ending == .ended)
        }
        await predecessor.events.wait(for: "failed(")
        await predecessor.events.wait(for: "takenBack")
        await local.close()
        #expect(predecessor.takenBack.names == ["local", "session"])
        #expect(predecessor.fileIsThere)
        try await predecessor.expectsAnswer()
        predecessor.running.cancel()
        try await predecessor.ends(.ended)
        #expect(!predecessor.fileIsThere)
      }
    }

    // MARK: A listener that is not taken

    enum Leaving: CaseIterable { case left, neverAsked, closed, anotherKind }

    /// The file of a listener that is not taken is removed when the successor serves: no listener
    /// is left.
    @Test(arguments: Leaving.allCases) func theFileOfAListenerThatNobodyTakes(leaving: Leaving)
      async throws
    {
      try await withPredecessor { predecessor, _ in
        let events = Events()
        let successor = try await HandOver.begin(at: predecessor.control, observer: events.observer)
        switch leaving {
        case .neverAsked: break
        case .left: #expect(successor.takeInherited().descriptors.names == ["local", "session"])
        case .closed:
          var inherited = successor.takeInherited()
          await (try inherited.descriptors.takeListener(named: "local", of: UnixStream.self))
            .close()
        case .anotherKind:
          var inherited = successor.takeInherited()
          #expect(throws: ServiceError.self) {
            _ = try inherited.descriptors.takeListener(named: "local", of: UnixSeqpacket.self)
              .address
          }
        }
        _ = try await successor.run {
          HandOverItems()
        } serving: { announce in
          #expect(predecessor.fileIsThere)
          try await predecessor.expectsAnswer()
          announce()
          try await predecessor.ends(.replaced)
          await events.wait(for: "predecessorDrained")
          #expect(!predecessor.fileIsThere)
        }
      }
    }

    /// A listener that is passed on unused keeps its file through all generations.
    @Test func aListenerThatIsPassedOnUnused() async throws {
      try await withPredecessor { predecessor, loop in
        let events = Events()
        let second = try await HandOver.begin(at: predecessor.control, observer: events.observer)
        let passed = PassedOn(second.takeInherited())
        let running = Task(executorPreference: loop.taskExecutor) {
          try await second.run {
            passed.take()
          } serving: { announce in
            announce()
            try await loop.sleep(for: .seconds(1000))
          }
        }
        try await predecessor.ends(.replaced)
        await events.wait(for: "predecessorDrained")
        let third = try await HandOver.begin(at: predecessor.control)
        var inherited = third.takeInherited()
        let local = try inherited.descriptors.takeListener(named: "local", of: UnixStream.self)
        _ = try await third.run {
          HandOverItems()
        } serving: { announce in
          announce()
          let ending = try await running.value
          #expect(ending == .replaced)
          #expect(predecessor.fileIsThere)
        }
        await local.close()
        #expect(!predecessor.fileIsThere)
      }
    }

    private final class PassedOn: Sendable {
      private let items: Mutex<HandOverItems>
      init(_ items: consuming HandOverItems) { self.items = Mutex(items) }
      func take() -> HandOverItems {
        items.withLock { items in
          var taken = HandOverItems()
          swap(&taken, &items)
          return taken
        }
      }
    }

    // MARK: The connection is reset

    /// The other side has closed the connection without having read everything: the kernel reports
    /// the reset first, although earlier messages are still queued.
    @Test(arguments: [[], [HandOverMessage.received(1)]] as [[HandOverMessage]])
    func aRefusalBehindAReset(before: [HandOverMessage]) async throws {
      try await withDescriptorOracle { _ in
        let (ours, theirs) = try UnixSeqpacket.makePair()
        let link = HandOverLink(socket: ours)
        try await link.send(.ready, within: .seconds(20))
        for message in before { try await theirs.sendMessage(message.encoded) }
        let refusal = HandOverMessage.refusal(.busy, "later")
        try await theirs.sendMessage(refusal.encoded)
        await theirs.close()
        for message in before {
          let arrived = try await link.next(within: .seconds(20), for: "anything").message
          #expect(arrived == message)
        }
        for code in [ServiceError.Code.handOverUnderWay, .peerEnded] {
          await #expect {
            _ = try await link.next(within: .seconds(20), for: "anything")
          } throws: {
            ($0 as? ServiceError)?.code == code
          }
        }
        await ours.close()
      }
    }

    // MARK: The successor is cancelled

    /// The successor gives up; only a predecessor may report that the predecessor ends.
    @Test func aCancelledSuccessorGivesUp() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { loop in
          let address = try UnixAddress(path: path)
          let listener = try UnixListener<UnixSeqpacket>.bind(to: address)
          let beginning = Task(executorPreference: loop.taskExecutor) {
            _ = try await HandOver.begin(at: address)
          }
          let successor = try await listener.accept()
          _ = try await successor.receiveMessage()
          beginning.cancel()
          let answer = try await successor.receiveMessage(deadline: .now + .seconds(20))
          let message = try HandOverMessage(decoding: answer?.payload ?? [])
          if case .refusal(let reason, _) = message {
            #expect(reason == .other)
          } else {
            Issue.record("\(message)")
          }
          await #expect(throws: CancellationError.self) { try await beginning.value }
          await successor.close()
          await listener.close()
        }
      }
    }

    // MARK: A process that cannot be watched

    /// No descriptor was available for the predecessor's process. The end of the connection must
    /// not count as the end of the process later, so the hand-over fails.
    @Test(
      .enabled(
        if: KernelRelease.running >= KernelRelease(6, 5),
        "messages bring no process before Linux 6.5"))
    func aPredecessorThatCannotBeWatched() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { loop in
          let address = try UnixAddress(path: path)
          let listener = try UnixListener<UnixSeqpacket>.bind(to: address)
          let beginning = Task(executorPreference: loop.taskExecutor) {
            _ = try await HandOver.begin(at: address)
          }
          let successor = try await listener.accept()
          _ = try await successor.receiveMessage()
          var limit = rlimit()
          getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
          var low = limit
          low.rlim_cur = 3
          setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &low)
          try await successor.sendMessage(
            HandOverMessage.offer(protocolVersion: 1, descriptors: 2, stateLength: 0).encoded)
          let answer = try? await successor.receiveMessage(deadline: .now + .seconds(5))
          setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
          #expect(answer?.payload.first == 15)
          await successor.close()
          await listener.close()
          await #expect {
            try await beginning.value
          } throws: {
            ($0 as? SocketError)?.code == .outOfDescriptors
          }
        }
      }
    }
  }
}
