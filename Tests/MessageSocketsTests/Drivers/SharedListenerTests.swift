// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage
import Testing

@testable import MessageSockets
@testable import SocketEngine

enum ListenerKind: CaseIterable, Sendable { case unix, tcp }

extension KernelTests {
  /// Listeners whose open file is shared with other processes, which accept from it and decide
  /// whether it is `O_NONBLOCK`. This blocks no loop, on either driver, and no connection is lost.
  @Suite(.timeLimit(.minutes(2))) struct SharedListeners {
    private func withLoop(_ choice: IOLoop.DriverChoice, _ body: (IOLoop) async throws -> Void)
      async throws
    {
      var configuration = IOLoop.Configuration()
      configuration.driver = choice
      try await withOwnLoop(configuration) { loop in try await loop.run { try await body(loop) } }
    }

    static let drivers: [IOLoop.DriverChoice] =
      ProbeTool.machineHasRing ? [.ioUring, .epoll] : [.epoll]

    /// Threads of this process and of another accept from one listener, whose flag the other
    /// process sets.
    @Test(
      .enabled(if: ForeignPeer.python.isAvailable, "python3 3.9 or newer is not installed"),
      arguments: drivers,
      ["blocking", "nonblocking", "leave"])
    func anotherProcessAcceptsToo(driver: IOLoop.DriverChoice, mode: String) async throws {
      try await withLoop(driver) { loop in
        for kind in ListenerKind.allCases {
          let raw = try RawListener(kind)
          let end = try Pipe()
          let words = ["python3", ForeignPeer.script("second_acceptor.py"), mode, "3"]
          let output = try OutputPipe()
          let other = try output.feed { output in
            try raw.descriptor.withUnsafeFileDescriptor { listener in
              try end.withReader {
                try ChildProcess(words, descriptors: [1: output, 3: listener.rawValue, 4: $0])
              }
            }
          }
          #expect(try output.readLine() == "accepting")
          let answers = try await acceptBeside(raw, kind, on: loop)
          end.closeWriter()
          #expect(await other.end() == 0)
          #expect(answers.ours + answers.others == answers.all)
          #expect(answers.ours > 0)
          #expect(answers.others > 0)
        }
      }
    }

    private struct Answers { var ours = 0, others = 0, all = 0 }

    /// Waves of three connections. After each wave the loop must answer, although no further client
    /// connects.
    private func acceptBeside(_ raw: RawListener, _ kind: ListenerKind, on loop: IOLoop)
      async throws -> Answers
    {
      let listener = try raw.adopted(kind)
      let serving = Task(executorPreference: loop.taskExecutor) {
        await answerUntilCancelled(listener)
      }
      var answers = Answers()
      let clock = ContinuousClock()
      let limit = clock.now + .seconds(20)
      while answers.all < 300 || (answers.ours == 0 || answers.others == 0) && clock.now < limit {
        let wave = try await withThrowingTaskGroup(of: String.self) { group in
          for _ in 0..<3 {
            let client = try raw.connectClient()
            group.addTask(executorPreference: globalConcurrentExecutor) { readToEnd(client) }
          }
          return try await group.reduce(into: []) { $0.append($1) }
        }
        answers.all += wave.count
        answers.ours += wave.count { $0 == "ours" }
        answers.others += wave.count { $0 == "other" }
        _ = await Task.detached { await loop.statistics }.value
      }
      serving.cancel()
      await serving.value
      await listener.close()
      return answers
    }

    /// The thread that accepts for the loop is stuck, because another process was faster. The
    /// accept can be cancelled, and a later accept gets the next connection.
    @Test(arguments: ListenerKind.allCases) func anAcceptThatIsStuckIsCancelled(kind: ListenerKind)
      async throws
    {
      try await withLoop(.epoll) { loop in
        let raw = try RawListener(kind)
        let listener = try raw.adopted(kind)
        for _ in 0..<20 {
          try strand(listener)
          let accepting = Task(executorPreference: loop.taskExecutor) {
            try await listener.acceptAny()
          }
          await untilOperationsArePending(1, on: loop)
          accepting.cancel()
          await #expect(throws: CancellationError.self) { try await accepting.value }
          // The thread has returned with a connection of our own.
          #expect(listener.channel.socket.sharedAccepts.stranded == nil)
        }
        try strand(listener)
        let accepting = Task(executorPreference: loop.taskExecutor) {
          try await listener.acceptAny()
        }
        await untilOperationsArePending(1, on: loop)
        let client = try raw.connectClient()
        #expect(try await accepting.value == "accepted")
        #expect(readToEnd(client) == "ours")
        // Closing the listener ends the accept in this way too.
        try strand(listener)
        let last = Task(executorPreference: loop.taskExecutor) { try await listener.acceptAny() }
        await untilOperationsArePending(1, on: loop)
        await listener.close()
        #expect(await codeThrown { _ = try await last.value } == .closed)
      }
    }

    /// None of our own connections can reach the listener, whose file was renamed. The thread
    /// stays, and the next accept gets its connection.
    @Test func aConnectionThatNobodyWaitsForIsTheNextAccepts() async throws {
      try await withLoop(.epoll) { loop in
        let raw = try RawListener(.unix, inFileSystem: true)
        let listener = try raw.adopted(.unix)
        let other = raw.path + ".other"
        #expect(rename(raw.path, other) == 0)
        defer { unlink(other) }
        try strand(listener)
        let accepting = Task(executorPreference: loop.taskExecutor) {
          try await listener.acceptAny()
        }
        await untilOperationsArePending(1, on: loop)
        accepting.cancel()
        await #expect(throws: CancellationError.self) { try await accepting.value }
        #expect(listener.channel.socket.sharedAccepts.stranded != nil)
        let client = try raw.connectClient(at: other)
        #expect(try await listener.acceptAny() == "accepted")
        #expect(readToEnd(client) == "ours")
        #expect(listener.channel.socket.sharedAccepts.stranded == nil)
        await listener.close()
      }
    }

    /// Makes the accept stick as if another process had been faster than the thread.
    private func strand(_ listener: any SharedListener) throws {
      let socket = listener.channel.socket
      socket.sharedAccepts.stranded = try AcceptingThread(
        listener: socket.number, inbox: socket.core.inbox)
    }

    /// Another process clears a flag that we have set.
    @Test(
      .enabled(if: ForeignPeer.python.isAvailable, "python3 3.9 or newer is not installed"),
      arguments: drivers)
    func aFlagThatIsTakenAwayIsNoMatter(driver: IOLoop.DriverChoice) async throws {
      try await withLoop(driver) { loop in
        let listener = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        let number = listener.channel.socket.number
        let output = try OutputPipe()
        let end = try Pipe()
        let words = ["python3", ForeignPeer.script("second_acceptor.py"), "blocking", "0"]
        let other = try output.feed { output in
          try end.withReader {
            try ChildProcess(words, descriptors: [1: output, 3: number, 4: $0])
          }
        }
        #expect(try output.readLine() == "accepting")
        #expect(fcntl(number, F_GETFL) & O_NONBLOCK == 0)
        let accepting = Task(executorPreference: loop.taskExecutor) { try await listener.accept() }
        await untilOperationsArePending(1, on: loop)
        let client = try await TCPStream.connect(to: listener.address)
        let connection = try await accepting.value
        try await client.sendMessage([3])
        #expect(try await connection.receiveMessage()?.payload == [3])
        #expect(fcntl(number, F_GETFL) & O_NONBLOCK == 0)
        end.closeWriter()
        #expect(await other.end() == 0)
        await listener.close()
      }
    }

    /// Before Linux 6.0, io_uring does not wait on such a listener by itself.
    @Test(arguments: drivers) func anAdoptedNonblockingListenerWaits(driver: IOLoop.DriverChoice)
      async throws
    {
      try await withLoop(driver) { loop in
        let raw = try RawListener(.tcp, isNonblocking: true)
        let listener = try raw.adopted(.tcp)
        let accepting = Task(executorPreference: loop.taskExecutor) {
          try await listener.acceptAny()
        }
        await untilOperationsArePending(1, on: loop)
        for _ in 0..<20 { _ = await loop.statistics }
        let client = try raw.connectClient()
        #expect(try await accepting.value == "accepted")
        #expect(readToEnd(client) == "ours")
        let cancelled = Task(executorPreference: loop.taskExecutor) {
          try await listener.acceptAny()
        }
        await untilOperationsArePending(1, on: loop)
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        await listener.close()
      }
    }
  }
}

private func answerUntilCancelled(_ listener: any SharedListener) async {
  while !Task.isCancelled { _ = try? await listener.acceptAny() }
}

/// Everything that a client receives until the end.
private func readToEnd(_ client: borrowing OwnedFd) -> String {
  client.withUnsafeFileDescriptor { descriptor in
    var bytes = [UInt8](repeating: 0, count: 64)
    var total = 0
    while total < bytes.count {
      let count = bytes.withUnsafeMutableBytes {
        read(descriptor.rawValue, $0.baseAddress! + total, $0.count - total)
      }
      if count < 0, errno == EINTR { continue }
      if count <= 0 { break }
      total += count
    }
    return String(decoding: bytes[..<total], as: UTF8.self)
  }
}

private protocol SharedListener: SocketListener {}

extension UnixListener: SharedListener {}
extension TCPListener: SharedListener {}

extension SharedListener {
  /// Accepts one connection, answers it, and closes it.
  func acceptAny() async throws -> String {
    let connection = try await accept()
    try? await connection.sendMessage(Array("ours".utf8))
    await connection.close()
    return "accepted"
  }
}

/// A listener as another process would make it: blocking by default.
private final class RawListener {
  let descriptor: OwnedFd
  let path: String
  private let address: AnySocketAddress

  init(_ kind: ListenerKind, inFileSystem: Bool = false, isNonblocking: Bool = false) throws {
    path = inFileSystem ? "/tmp/message-sockets-shared-\(getpid())" : ""
    let wanted: AnySocketAddress =
      switch kind {
      case .tcp: AnySocketAddress(InternetAddress(.loopback as IPv4Address, port: 0))
      case .unix where inFileSystem: AnySocketAddress(try UnixAddress(path: FilePath(path)))
      case .unix:
        AnySocketAddress(
          try UnixAddress(abstract: Array("message-sockets-shared-\(getpid())".utf8)))
      }
    descriptor = try OwnedFd.socket(kind == .unix ? AF_UNIX : AF_INET, Int32(SOCK_STREAM.rawValue))
    address = try descriptor.withUnsafeFileDescriptor { descriptor in
      let number = descriptor.rawValue
      try #require(withName(wanted) { bind(number, $0, $1) } == 0)
      try #require(listen(number, 64) == 0)
      if isNonblocking { try #require(fcntl(number, F_SETFL, O_NONBLOCK) == 0) }
      return try #require(try AnySocketAddress.local(of: number))
    }
  }

  /// Adopts a duplicate of the listener on the current loop.
  func adopted(_ kind: ListenerKind) throws -> any SharedListener {
    switch kind {
    case .unix:
      try UnixListener<UnixStream>(adopting: descriptor.duplicate(), authorization: .anyone)
    case .tcp: try TCPListener(adopting: descriptor.duplicate())
    }
  }

  func connectClient(at path: String? = nil) throws -> OwnedFd {
    let client = try OwnedFd.socket(address.family!, Int32(SOCK_STREAM.rawValue))
    let target = try path.map { AnySocketAddress(try UnixAddress(path: FilePath($0))) } ?? address
    try client.withUnsafeFileDescriptor { client in
      try #require(withName(target) { connect(client.rawValue, $0, $1) } == 0)
    }
    return client
  }
}

private func withName(
  _ address: AnySocketAddress, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
) -> Int32 {
  address.bytes.withUnsafeBytes {
    call($0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
  }
}
