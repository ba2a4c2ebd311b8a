// SPDX-License-Identifier: Apache-2.0
import CTestDescriptors
import Glibc
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// Messages that try to stop a server; the loop keeps running.
  @Suite(.timeLimit(.minutes(1))) struct HostilePeers {
    /// A loop whose thread waits in a system call would not complete this.
    private func expectThatTheLoopGoesOn() async throws {
      let (left, right) = try UnixSeqpacket.makePair()
      for byte in 0..<10 {
        try await left.sendMessage([UInt8(byte)])
        #expect(try await right.receiveMessage()?.payload == [UInt8(byte)])
      }
    }

    /// How many descriptors from the socket wait to be closed.
    private func unclosed(_ socket: UnixSeqpacket) -> Int {
      socket.channel.socket.policy?.closing.count ?? 0
    }

    /// Whether this many threads are blocked in close(2), and stay blocked.
    private func areHeldUp(_ threads: Int = 1) async -> Bool {
      let limit = ContinuousClock.now + .seconds(10)
      var seen = 0
      while seen < 100, ContinuousClock.now < limit {
        await Task.yield()
        seen = ClosingService.shared.beingClosed == threads ? seen + 1 : 0
      }
      return seen == 100
    }

    @Test func floodsOf253FIFOs() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(
          ReceivePolicy(maximumDescriptorsPerMessage: 253, allowed: [.regularFile]))
        let fifo = try OwnedFd.fifo()
        var many = OwnedFds()
        for _ in 0..<253 { many.append(try fifo.duplicate()) }
        for _ in 0..<20 {
          try await left.sendMessage([1], descriptors: many.span)
          do {
            _ = try await right.receiveMessage()
            Issue.record("FIFOs were admitted")
          } catch let error as SocketError {
            #expect(error.code == .policyViolated)
            #expect(error.outcome?.refused.count == 253)
            #expect(error.outcome?.refused.last?.facts.kind == .pipe)
          }
          while unclosed(right) > 0 { await Task.yield() }
        }
      }
    }

    @Test func aFloodStaysWithinThePolicy() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(
          ReceivePolicy(maximumDescriptorsPerMessage: 10, maximumDescriptorsHeld: 16))
        let file = try OwnedFd.numbered(1)
        var many = OwnedFds()
        for _ in 0..<50 { many.append(try file.duplicate()) }
        let before = openDescriptors().count
        var kept: [ReceivedMessage] = []
        for _ in 0..<40 {
          try await left.sendMessage([1], descriptors: many.span)
          kept.append(try #require(try await right.receiveMessage()))
          while unclosed(right) > 0 { await Task.yield() }
          #expect(openDescriptors().count - before <= 16)
        }
        #expect(kept.map(\.descriptorCount).reduce(0, +) == 16)
      }
    }

    /// The last descriptor of a TCP connection with SO_LINGER and unsent data: close(2) waits until
    /// the other end reads, here for half a minute.
    @Test func aLingeringSocketDoesNotHoldUpTheLoop() async throws {
      try await withDescriptorOracle { _ in
        let lingering = try LingeringConnection()
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
        try await left.sendMessage([1], descriptor: lingering.takeSender())
        do {
          let message = try await right.receiveMessage()
          #expect(message?.descriptorCount == 1)
        }
        try await expectThatTheLoopGoesOn()
        #expect(unclosed(right) == 1, "the socket did not linger: the test proves nothing")
        lingering.abort()
        while unclosed(right) > 0 { await Task.yield() }
      }
    }

    @Test(arguments: [true, false]) func aLingeringSocketThatNobodyReceivesDoesNotHoldUpTheLoop(
      isClosed: Bool
    ) async throws {
      try await withDescriptorOracle { loop in
        let lingering = try LingeringConnection()
        let sent = lingering.takeSender()
        do {
          let (left, right) = try UnixSeqpacket.makePair()
          try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
          try await left.sendMessage([1], descriptor: sent)
          try sent.close()
          if isClosed {
            // Another task closes the socket, so that this one can check that the loop keeps
            // running.
            let closing = Task(executorPreference: loop.taskExecutor) { await right.close() }
            try await expectThatTheLoopGoesOn()
            #expect(await codeThrown { _ = try await left.receiveMessage() } == .connectionReset)
            await closing.value
            await right.close()
          }
        }
        try await expectThatTheLoopGoesOn()
        #expect(await areHeldUp(), "the socket did not linger: the test proves nothing")
        lingering.abort()
      }
    }

    /// The descriptor closes later than the call begins: when the kernel has released the send.
    @Test(.timeLimit(.minutes(1))) func aCloseThatEndsASendWaitsNoLonger() async throws {
      try await withDescriptorOracle { loop in
        let lingering = try LingeringConnection()
        let sent = lingering.takeSender()
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
        try await left.sendMessage([1], descriptor: sent)
        try sent.close()
        let sending = Task(executorPreference: loop.taskExecutor) {
          while true { try await right.sendMessage([1]) }
        }
        await untilSendsStall(on: loop)
        await right.close()
        await #expect(throws: SocketError.self) { try await sending.value }
        #expect(await areHeldUp(), "the socket did not linger: the test proves nothing")
        lingering.abort()
      }
    }

    @Test func aServerGoesOnWhenAHandlerLeavesALingeringSocketUnread() async throws {
      try await withDescriptorOracle { loop in
        let lingering = try LingeringConnection()
        let address = try UnixAddress(abstract: "message-sockets-lingering-\(getpid())")
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: address, policy: ReceivePolicy(maximumDescriptorsPerMessage: 1))
        let server = Task(executorPreference: loop.taskExecutor) {
          try await listener.serve(ServeLimits(maximumConnections: 1)) {
            try await $0.sendMessage([1])
          }
        }
        let hostile = try await UnixSeqpacket.connect(to: address)
        try await hostile.sendMessage([1], descriptor: lingering.takeSender())
        // The only place becomes free again.
        let other = try await UnixSeqpacket.connect(to: address)
        #expect(try await other.receiveMessage()?.payload == [1])
        #expect(await areHeldUp(), "the socket did not linger: the test proves nothing")

        server.cancel()
        try await server.value
        lingering.abort()
      }
    }

    @Test func whoWaitsForAListenerCannotHoldUpItsEnd() async throws {
      try await withDescriptorOracle { loop in
        let lingering = try LingeringConnection()
        let address = try UnixAddress(abstract: "message-sockets-waiting-\(getpid())")
        let listener = try UnixListener<UnixSeqpacket>.bind(to: address)
        let client = try await UnixSeqpacket.connect(to: address)
        try await client.sendMessage([1], descriptor: lingering.takeSender())
        let closing = Task(executorPreference: loop.taskExecutor) { await listener.close() }
        try await expectThatTheLoopGoesOn()
        await closing.value
        #expect(await areHeldUp(), "the socket did not linger: the test proves nothing")
        lingering.abort()
      }
    }

    @Test func refusedPeersAreClosedBehindOneThatCannotBe() async throws {
      try await withDescriptorOracle { loop in
        let lingering = try LingeringConnection()
        let address = try UnixAddress(abstract: "message-sockets-refused-\(getpid())")
        let refused = Mutex(0)
        let listener = try UnixListener<UnixStream>.bind(
          to: address,
          authorization: .custom { _ in false }.reporting { _ in refused.withLock { $0 += 1 } })
        do {
          let hostile = try await UnixStream.connect(to: address)
          try await hostile.sendMessage([1], descriptor: lingering.takeSender())
        }
        let before = openDescriptors().count
        let accepting = Task(executorPreference: loop.taskExecutor) {
          _ = try await listener.accept()
        }
        for _ in 0..<200 { _ = try await UnixStream.connect(to: address) }
        while refused.withLock({ $0 }) < 201 { await Task.yield() }
        while listener.channel.refusedCount > 1 { await Task.yield() }
        #expect(openDescriptors().count - before <= 1)
        #expect(await areHeldUp(), "the socket did not linger: the test proves nothing")
        accepting.cancel()
        _ = await accepting.result
        await listener.close()
        lingering.abort()
      }
    }

    @Test func aListenerWaitsWhileTooManyRefusedPeersCannotBeClosed() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: "message-sockets-bound-\(getpid())")
        let refused = Mutex(0)
        let listener = try UnixListener<UnixStream>.bind(
          to: address,
          authorization: .custom { _ in false }.reporting { _ in refused.withLock { $0 += 1 } })
        let limit = ClosingLimits.forRefused(of: ClosingLimits.descriptorLimit)
        var lingering: [LingeringConnection] = []
        for _ in 0..<limit {
          lingering.append(try LingeringConnection())
          let hostile = try await UnixStream.connect(to: address)
          try await hostile.sendMessage([1], descriptor: lingering.last!.takeSender())
        }
        let client = try await UnixStream.connect(to: address)
        let accepting = Task(executorPreference: loop.taskExecutor) {
          _ = try await listener.accept()
        }
        while refused.withLock({ $0 }) < limit { await Task.yield() }
        #expect(
          listener.channel.refusedCount == limit, "a socket did not linger: the test proves nothing"
        )
        try await expectThatTheLoopGoesOn()
        try await loop.sleep(for: .milliseconds(50))
        #expect(refused.withLock { $0 } == limit)
        lingering.removeFirst().abort()
        #expect(try await client.receiveMessage() == nil)
        for connection in lingering { connection.abort() }
        accepting.cancel()
        await #expect(throws: CancellationError.self) { try await accepting.value }
        await listener.close()
      }
    }

    /// The accept is cancelled while the authorization examines the connection.
    @Test func cancellingAnAcceptDoesNotWaitForTheConnection() async throws {
      try await withDescriptorOracle { loop in
        let lingering = try LingeringConnection()
        let address = try UnixAddress(abstract: "message-sockets-cancelled-\(getpid())")
        let isAsked = Atomic(false)
        let authorization = Authorization.custom { _ in
          isAsked.store(true, ordering: .releasing)
          try await loop.sleep(for: .seconds(30))
          return true
        }
        let listener = try UnixListener<UnixStream>.bind(to: address, authorization: authorization)
        let accepting = Task(executorPreference: loop.taskExecutor) {
          _ = try await listener.accept()
        }
        let hostile = try await UnixStream.connect(to: address)
        try await hostile.sendMessage([1], descriptor: lingering.takeSender())
        while !isAsked.load(ordering: .acquiring) { await Task.yield() }
        accepting.cancel()
        await #expect(throws: CancellationError.self) { try await accepting.value }
        try await expectThatTheLoopGoesOn()
        #expect(await areHeldUp(), "the socket did not linger: the test proves nothing")
        lingering.abort()
        await listener.close()
      }
    }

    @Test(
      .enabled(
        if: geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0
          && ForeignPeer.python.isAvailable, "needs root, /dev/fuse and python3"))
    func aFileSystemThatDoesNotAnswer() async throws {
      try await withDescriptorOracle { _ in
        var template = Array("/tmp/message-sockets-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
        try #require(made)
        let directory = String(
          decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { rmdir(directory) }
        let name = "message-sockets-fuse-\(getpid())"
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: UnixAddress(abstract: Array(name.utf8)), policy: ReceivePolicy(allowed: [.pipe]))
        let peer = try ChildProcess([
          "python3", ForeignPeer.script("hostile_fuse.py"), directory, name, "3",
        ])
        let connection = try await listener.accept()
        // Inspecting the file does not wait.
        do {
          _ = try await connection.receiveMessage()
          Issue.record("the file was admitted")
        } catch let error as SocketError {
          #expect(
            error.outcome?.refused.first?.facts
              == DescriptorFacts(kind: .regularFile, access: [.read, .write]))
        }
        // Closing it does not wait either, whether it was not taken ...
        try await connection.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
        do { #expect(try await connection.receiveMessage()?.descriptorCount == 1) }
        // ... or it was.
        let taken = try await connection.receiveMessage()?.takeDescriptor()
        taken?.closeInBackground()
        try await expectThatTheLoopGoesOn()
        #expect(unclosed(connection) == 2, "the file system answered: the test proves nothing")
        #expect(ClosingQueue.program.count == 1)

        // The number of descriptors that wait to be closed is bounded: receives from this peer then
        // fail. Other peers are still served.
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 0))
        // Without SO_PASSRIGHTS (before Linux 6.16) they arrive anyway.
        try? await right.setOption(.passDescriptors, to: true)
        try await left.sendMessage([1], descriptor: try .event())
        #expect(try await right.receiveMessage()?.outcome.surplus == 1)

        await connection.close()
        #expect(peer.exitStatus() == 0)
        while unclosed(connection) + unclosed(right) + ClosingQueue.program.count > 0 {
          await Task.yield()
        }
        await listener.close()
      }
    }

    /// Also with the usual limit of open files.
    @Test(arguments: [nil, 1024]) func aPeerWhoseDescriptorsCannotBeClosedIsNotHeardAnyMore(
      limit: Int?
    ) async throws {
      try await withDescriptorOracle { _ in
        try await withDescriptorLimit(limit) {
          let lingering = try LingeringConnection()
          let (left, right) = try UnixSeqpacket.makePair()
          try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 0))
          try? await right.setOption(.passDescriptors, to: true)
          try await left.sendMessage([1], descriptor: lingering.takeSender())
          _ = try await right.receiveMessage()
          let event = try OwnedFd.event()
          var many = OwnedFds()
          for _ in 0..<253 { many.append(try event.duplicate()) }
          var received = 1
          while received < 100 {
            try await left.sendMessage([2], descriptors: many.span)
            guard await codeThrown(by: { _ = try await right.receiveMessage() }) != .policyViolated
            else { break }
            received += 1
          }
          let bound = ClosingLimits.forPeer(of: ClosingLimits.descriptorLimit)
          #expect(
            received == 1 + (bound - 1 + 252) / 253,
            "as many messages as bring \(bound) descriptors that wait")
          lingering.abort()
          while unclosed(right) > 0 { await Task.yield() }
          #expect(try await right.receiveMessage()?.payload == [2])
        }
      }
    }

    /// Descriptors received into the caller's memory, and not taken.
    @Test(arguments: [false, true]) func whatIsLeftInPartsDoesNotHoldUpTheLoop(receivesAhead: Bool)
      async throws
    {
      try await withDescriptorOracle { _ in
        let lingering = try LingeringConnection()
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 2))
        if receivesAhead {
          try await left.sendMessage([0])
          var iterator = right.messages.makeAsyncIterator()
          _ = try await iterator.next()
        }
        let pipe = try Pipe()
        var two = OwnedFds()
        two.append(lingering.takeSender())
        two.append(pipe.takeWriter())
        try await left.sendMessage([1], descriptors: two.span)
        // Released now, while the message also has the socket: the last to close it is the one that
        // lingers.
        _ = consume two
        #expect(try await receiveBytes(upTo: 8, from: right) == [1])
        try await expectThatTheLoopGoesOn()
        #expect(await areHeldUp(), "the socket did not linger: the test proves nothing")
        #expect(unclosed(right) == 2)
        lingering.abort()
        while unclosed(right) > 0 { await Task.yield() }
        #expect(pipe.comesToAnEnd)
      }
    }

    /// Descriptors that one listener's clients leave repeatedly block half of the threads, and
    /// delay no others.
    @Test func clientsThatComeAgainHoldUpNobodyElse() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: "message-sockets-again-\(getpid())")
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: address, policy: ReceivePolicy(maximumDescriptorsPerMessage: 1))
        var lingering: [LingeringConnection] = []
        let half = ClosingService.maximumThreads / 2
        for _ in 0..<half + 8 {
          lingering.append(try LingeringConnection())
          let hostile = try await UnixSeqpacket.connect(to: address)
          try await hostile.sendMessage([1], descriptor: lingering.last!.takeSender())
          // Dropped with unread messages in it.
          _ = try await listener.accept()
        }
        try await expectThatTheLoopGoesOn()
        #expect(await areHeldUp(half), "a socket did not linger: the test proves nothing")
        let pipe = try Pipe()
        let (left, right) = try UnixSeqpacket.makePair()
        try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 0))
        try? await right.setOption(.passDescriptors, to: true)
        try await left.sendMessage([1], descriptor: pipe.takeWriter())
        #expect(try await right.receiveMessage()?.outcome.surplus == 1)
        #expect(pipe.comesToAnEnd)
        // The count follows the closing of the descriptor.
        while ClosingService.shared.beingClosed > half { await Task.yield() }
        #expect(ClosingService.shared.beingClosed == half)
        for connection in lingering { connection.abort() }
        await listener.close()
      }
    }

    @Test func aListenerWaitsWhileTooManyEndedConnectionsCannotBeClosed() async throws {
      try await withDescriptorOracle { loop in
        try await withDescriptorLimit(128) {
          let limit = ClosingLimits.forConnections(of: 128)
          let address = try UnixAddress(abstract: "message-sockets-ended-\(getpid())")
          let listener = try UnixListener<UnixSeqpacket>.bind(
            to: address, policy: ReceivePolicy(maximumDescriptorsPerMessage: 1))
          var lingering: [LingeringConnection] = []
          for _ in 0..<limit {
            lingering.append(try LingeringConnection())
            let hostile = try await UnixSeqpacket.connect(to: address)
            try await hostile.sendMessage([1], descriptor: lingering.last!.takeSender())
            _ = try await listener.accept()
          }
          #expect(await areHeldUp(limit), "a socket did not linger: the test proves nothing")
          let client = try await UnixSeqpacket.connect(to: address)
          #expect(
            await codeThrown {
              _ = try await loop.withDeadline(.now + .milliseconds(50)) {
                try await listener.accept()
              }
            }
              == .deadlineExceeded)
          lingering.removeFirst().abort()
          let connection = try await listener.accept()
          try await client.sendMessage([7])
          #expect(try await connection.receiveMessage()?.payload == [7])
          for connection in lingering { connection.abort() }
          await listener.close()
        }
      }
    }

    /// While no thread can be started, descriptors wait, and no loop closes them; once threads are
    /// available again, they are closed.
    @Test(
      .enabled(
        if: ProbeTool.isRoot, "only root can become another user, and is not bound by RLIMIT_NPROC")
    )
    func withoutThreadsDescriptorsWait() throws {
      let choice = TestLoop.isOnRing ? "choice=io_uring" : "choice=epoll"
      let found = try ProbeTool.run(["user=\(ProbeTool.ownUser)", choice, "task=closing"])
      #expect(found["refused"] == "1", "\(found)")
      #expect(found["loop"] == "goes on", "\(found)")
      #expect(found["closed without threads"] == "false", "\(found)")
      #expect(found["closed with threads"] == "true", "\(found)")
    }

    /// Thousands of connections end at one time.
    @Test func endingManyConnectionsStartsFewThreads() async throws {
      try await withDescriptorOracle { _ in
        try await withDescriptorLimit(4096) {
          var all: [UnixSeqpacket] = []
          for _ in 0..<1000 {
            let (left, right) = try UnixSeqpacket.makePair()
            try await left.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
            try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
            all += [left, right]
          }
          let before = ClosingService.shared.threadsStarted
          all = []
          while ClosingService.shared.count > 0 { await Task.yield() }
          // On a busy machine, a thread may wait so long that it seems to be blocked.
          #expect(ClosingService.shared.threadsStarted - before <= 16)
        }
      }
    }

    @Test func aSocketEndsWithWhatItHasReceivedAhead() async throws {
      try await withDescriptorOracle { loop in
        let pipe = try Pipe()
        for isClosed in [false, true] {
          let (left, right) = try UnixSeqpacket.makePair()
          try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 2))
          let copy = try pipe.duplicateWriter()
          for _ in 0..<5 { try await left.sendMessage([1], descriptor: copy) }
          var iterator = right.messages.makeAsyncIterator()
          _ = try await iterator.next()
          if isClosed { await right.close() }
        }
        pipe.closeWriter()
        #expect(pipe.comesToAnEnd)
      }
    }
  }
}

/// A TCP connection on the loopback interface with more unsent data than the other end can take,
/// and a linger time of half a minute.
private final class LingeringConnection {
  private var sender: OwnedFd?
  private var receiver: OwnedFd?

  init() throws {
    // TCP, close-on-exec.
    let listener = try OwnedFd.socket(2, 1)
    let sender = try OwnedFd.socket(2, 1)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let accepted: Int32 = try listener.withUnsafeFileDescriptor { listener in
      try withUnsafeMutablePointer(to: &address) { pointer in
        try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
          try #require(bind(listener.rawValue, address, length) == 0)
          try #require(listen(listener.rawValue, 1) == 0)
          try #require(getsockname(listener.rawValue, address, &length) == 0)
          try sender.withUnsafeFileDescriptor {
            try #require(connect($0.rawValue, address, length) == 0)
          }
        }
      }
      return accept(listener.rawValue, nil, nil)
    }
    receiver = try .made(accepted)
    try sender.withUnsafeFileDescriptor { sender in
      try #require(ctd_set_linger(sender.rawValue, 30) == 0)
      let bytes = [UInt8](repeating: 0, count: 1 << 16)
      while send(sender.rawValue, bytes, bytes.count, Int32(MSG_DONTWAIT)) > 0 {}
    }
    self.sender = consume sender
  }

  func takeSender() -> OwnedFd { sender.take()! }

  /// Closes the other end with unread data, which causes a reset and ends the lingering.
  func abort() { receiver = nil }
}
