// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Synchronization
import Testing

@testable import MessageSockets

extension KernelTests {
  /// The identity of peers, and which of them may connect.
  @Suite(.timeLimit(.minutes(1))) struct Peers {
    private func uniqueName() -> String {
      "message-sockets-peer-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    }

    @Test func theOtherEndOfAPairIsOurselves() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let peer = try await left.peerIdentity()
        #expect(peer.processID == getpid())
        #expect(peer.userID == geteuid())
        #expect(peer.groupID == getegid())
        var groups = [gid_t](repeating: 0, count: 65536)
        groups.removeLast(groups.count - Int(getgroups(Int32(groups.count), &groups)))
        #expect(peer.supplementaryGroups ?? groups == groups)
        #expect(peer.isMember(of: getegid()))
        #expect(!peer.isMember(of: 4_000_000_000))
        #expect(
          peer.description.hasPrefix("process \(getpid()), user \(geteuid()), group \(getegid())"))
        if let process = try await left.peerProcess() {
          let number = process.processID
          #expect(number == getpid())
        }
        await right.close()
        await left.close()
        #expect(await codeThrown { _ = try await left.peerIdentity() } == .closed)
        #expect(await codeThrown { _ = try await left.peerProcess() } == .closed)
      }
    }

    @Test func nobodyIsNotAUser() async throws {
      try await withDescriptorOracle { _ in
        let alone = try UnixStream(
          adopting: OwnedFd(
            adopting: FileDescriptor(rawValue: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))))
        let peer = try await alone.peerIdentity()
        #expect(peer.userID == nil)
        #expect(peer.groupID == nil)
        await alone.close()
      }
    }

    @Test(.enabled(if: ForeignPeer.python.isAvailable, "python3 3.9 or newer is not installed"))
    func aProcessThatEndsIsNotTakenForAnother() async throws {
      try await withDescriptorOracle { _ in
        let name = uniqueName()
        let listener = try UnixListener<UnixStream>.bind(
          to: UnixAddress(abstract: Array(name.utf8)))
        let python = try ForeignPeer.python.start([
          "socket", "stream", "send", "@" + name, "0", "0",
        ])
        let connection = try await listener.accept()
        #expect(try await connection.peerIdentity().processID == python.id)
        let process = try await connection.peerProcess()
        try await connection.sendMessage(Array("ok".utf8))
        #expect(python.exitStatus() == 0)
        if let process {
          let number = process.processID
          #expect(number == nil, "the process was waited for: its number may be another's")
          let isReadable = process.withUnsafeFileDescriptor { descriptor in
            var wanted = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            return poll(&wanted, 1, 0) == 1
          }
          #expect(isReadable)
        }
        await listener.close()
      }
    }

    @Test func messagesSayWhoSentThem() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        let hasProcesses =
          await codeThrown { try await right.identifySenders(process: true) } == nil
        try await left.sendMessage([1])
        let message = try #require(try await right.receiveMessage())
        #expect(message.credentials?.processID == getpid())
        #expect(message.credentials?.userID == geteuid())
        if hasProcesses {
          let number = try message.takeProcess()?.processID
          #expect(number == getpid())
        }
      }
    }

    /// Receives that wait: the kernel's failed attempts leave zeroed credentials, which are root's,
    /// before those of the message, and their length is not counted.
    @Test(arguments: Reception.unix) func aReceiveThatWaitsLearnsWhoSentAndGetsTheDescriptors(
      reception: Reception
    ) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try reception.socket.makeUnixPair()
        try await right.identifySenders()
        for number in 0..<20 {
          async let received = reception.next(from: right)
          await untilTasksWait(1, on: loop)
          try await left.sendMessage([UInt8(number)], descriptor: try .numbered(number))
          let message = try #require(try await received)
          #expect(message.payload == [UInt8(number)])
          #expect(
            message.credentials
              == Credentials(processID: getpid(), userID: geteuid(), groupID: getegid()))
          #expect(try message.takeDescriptor()?.number == number)
          #expect(message.outcome == .complete)
        }
        await left.close()
        await right.close()
      }
    }

    @Test func theSameUserIsWhoHasOurNumberOrIsRoot() {
      #expect(Authorization.isSameUser(1000, as: 1000))
      #expect(Authorization.isSameUser(0, as: 1000))
      #expect(!Authorization.isSameUser(1001, as: 1000))
      #expect(!Authorization.isSameUser(1000, as: 0))
      #expect(!Authorization.isSameUser(nil, as: 1000))
    }

    /// Sets the overflow numbers, which stand for users and groups without a number, while `body`
    /// runs.
    private func withOverflowNumber(_ number: Int, _ body: () async throws -> Void) async throws {
      let names = ["overflowuid", "overflowgid"]
      func write(_ text: String, to name: String) throws {
        let file = try OwnedFd.openFile("/proc/sys/kernel/\(name)", O_WRONLY)
        try file.withUnsafeFileDescriptor { _ = try $0.writeAll(text.utf8) }
      }
      let before = try names.map { try textOfProcessFile("/proc/sys/kernel/\($0)") }
      defer { for (name, text) in zip(names, before) { try? write(text, to: name) } }
      for name in names { try write("\(number)\n", to: name) }
      try await body()
    }

    /// An administrator has changed the overflow number: a user with this number may be any user.
    /// No other test has a user with this number, because the tests of the other driver run
    /// concurrently.
    @Test(
      .enabled(
        if: !testsRunOnEpoll,
        "the other driver's tests change kernel.overflowuid, which is the machine's"),
      .enabled(
        if: geteuid() == 0 && ForeignPeer.python.isAvailable
          && access("/proc/sys/kernel/overflowuid", W_OK) == 0,
        "needs root, to become another user and to set a system control, and python3"))
    func theOverflowNumberIsNobodysWhateverItIs() async throws {
      try await withDescriptorOracle { loop in
        for rule in [
          Authorization.users([23456, 65534]),
          .custom { $0.userID == 23456 || $0.isMember(of: 23456) },
        ] {
          let name = uniqueName()
          let refusals = Mutex<[PeerRefusal]>([])
          let listener = try UnixListener<UnixStream>.bind(
            to: UnixAddress(abstract: name),
            authorization: rule.reporting { refusal in refusals.withLock { $0.append(refusal) } },
            settings: [SocketSetting(.passCredentials, true)])
          let accepting = Task(executorPreference: loop.taskExecutor) {
            try await listener.accept()
          }
          try await withOverflowNumber(23456) {
            let stranger = try ChildProcess([
              "python3", ForeignPeer.script("other_user.py"), "23456", name,
            ])
            #expect(await stranger.end() == 0, "the stranger was admitted")
          }
          let seen = refusals.withLock { $0 }
          #expect(seen.count == 1)
          #expect(seen.first?.peer.userID == nil)
          #expect(seen.first?.peer.groupID == nil)
          // With the usual number, users and groups are reported as they are.
          let known = try ChildProcess([
            "python3", ForeignPeer.script("other_user.py"), "23456", name,
          ])
          let connection = try await accepting.value
          #expect(try await connection.peerIdentity().userID == 23456)
          let message = try #require(try await connection.receiveMessage())
          #expect(message.credentials?.userID == 23456)
          try await withOverflowNumber(23456) {
            #expect(message.credentials?.processID == known.id)
            #expect(message.credentials?.userID == nil)
            #expect(message.credentials?.groupID == nil)
            let peer = try await connection.peerIdentity()
            #expect(peer.userID == nil)
            #expect(!peer.isMember(of: 23456))
            #expect(peer.isMember(of: 7))
          }
          await connection.close()
          #expect(await known.end() == 0)
          await listener.close()
        }
      }
    }

    /// This process is in a user namespace in which the peer has no number, and if `isMapped` is
    /// false, this process has none either.
    @Test(
      .enabled(
        if: geteuid() == 0 && ForeignPeer.python.isAvailable && ProbeTool.canMakeUserNamespaces,
        "needs root, to become another user, user namespaces, and python3"),
      arguments: [true, false])
    func whoHasNoNumberHereMatchesNoNumber(isMapped: Bool) async throws {
      let name = uniqueName()
      let output = try OutputPipe()
      let namespace = ["unshare", "--user"] + (isMapped ? ["--map-root-user"] : [])
      let server = try output.feed {
        try ChildProcess(namespace + [ProbeTool.path, "peers=\(name)"], descriptors: [1: $0])
      }
      for rule in ["same user", "users", "custom"] {
        let ready = try output.readLine()
        #expect(ready == rule)
        let stranger = try ChildProcess([
          "python3", ForeignPeer.script("other_user.py"), "12345", name,
        ])
        #expect(await stranger.end() == 0, "the stranger was admitted: \(rule)")
        let refusal = try output.readLine()
        #expect(refusal.hasSuffix("user unknown, group unknown"), "\(refusal)")
      }
      #expect(await server.end() == 0)
    }

    @Test(
      .enabled(
        if: geteuid() == 0 && ForeignPeer.python.isAvailable,
        "needs root, to become another user, and python3"))
    func anotherUserIsClosedUnheardAndReported() async throws {
      try await withDescriptorOracle { loop in
        let name = uniqueName()
        let refusals = Mutex<[PeerRefusal]>([])
        let listener = try UnixListener<UnixStream>.bind(
          to: UnixAddress(abstract: Array(name.utf8)),
          authorization: .sameUser.reporting { refusal in refusals.withLock { $0.append(refusal) } }
        )
        var connections = listener.connections.makeAsyncIterator()
        let stranger = try ChildProcess([
          "python3", ForeignPeer.script("other_user.py"), "12345", name,
        ])
        // The other process ends when it has been refused, which needs an accept.
        let status = Task.detached { stranger.exitStatus() }
        let accepting = Task(executorPreference: loop.taskExecutor) { try await listener.accept() }
        #expect(await status.value == 0, "the stranger was admitted")
        let client = try await UnixStream.connect(to: UnixAddress(abstract: Array(name.utf8)))
        let first = try await accepting.value
        #expect(try await first.peerIdentity().processID == getpid())
        _ = consume first
        let seen = refusals.withLock { $0 }
        #expect(seen.count == 1)
        #expect(seen.first?.peer.userID == 12345)
        #expect(seen.first?.peer.groupID == 12345)
        #expect(seen.first?.peer.supplementaryGroups ?? [7, 8] == [7, 8])
        #expect(seen.first?.error == nil)
        #expect(seen.first?.description.contains("user 12345, group 12345, groups 7 8") ?? false)
        let second = try await UnixStream.connect(to: UnixAddress(abstract: Array(name.utf8)))
        _ = try await connections.next()
        await second.close()
        await client.close()
        await listener.close()
        #expect(try await connections.next() == nil)
      }
    }

    @Test(
      .enabled(
        if: geteuid() == 0 && ForeignPeer.python.isAvailable,
        "needs root, to become another user, and python3"))
    func othersMayConnectWhereThatIsSaid() async throws {
      try await withDescriptorOracle { _ in
        for authorization in [
          Authorization.anyone, .users([12345]), .custom { $0.isMember(of: 8) },
        ] {
          let name = uniqueName()
          let listener = try UnixListener<UnixStream>.bind(
            to: UnixAddress(abstract: Array(name.utf8)), authorization: authorization)
          let stranger = try ChildProcess([
            "python3", ForeignPeer.script("other_user.py"), "12345", name,
          ])
          let connection = try await listener.accept()
          #expect(try await connection.receiveMessage()?.payload == Array("x".utf8))
          try await connection.sendMessage([1])
          #expect(stranger.exitStatus() == 1)
          await listener.close()
        }
      }
    }

    @Test func whoIsNotNamedIsRefused() async throws {
      struct Doubt: Error {}
      try await withDescriptorOracle { _ in
        let address = try UnixAddress(abstract: Array(uniqueName().utf8))
        let refusals = Mutex<[PeerRefusal]>([])
        let asked = Atomic(0)
        let custom = Authorization.custom { peer in
          switch asked.add(1, ordering: .relaxed).oldValue {
          case 0: throw Doubt()
          case 1: return false
          default: return true
          }
        }
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: address,
          authorization: custom.reporting { refusal in refusals.withLock { $0.append(refusal) } })
        var clients: [UnixSeqpacket] = []
        for byte in 0..<3 {
          let client = try await UnixSeqpacket.connect(to: address)
          try await client.sendMessage([UInt8(byte)])
          clients.append(client)
        }
        let connection = try await listener.accept()
        #expect(try await connection.receiveMessage()?.payload == [2])
        #expect(refusals.withLock { $0.map { $0.error is Doubt } } == [true, false])
        for client in clients[..<2] {
          let received = try? await client.receiveMessage()
          #expect(received == nil)
        }
        await listener.close()
      }
    }

    @Test func aConnectionThatIsLookedAtClosesWithTheAccept() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: Array(uniqueName().utf8))
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        let authorization = Authorization.custom { _ in
          start.finish()
          try await IOLoop.current!.sleep(for: .seconds(100))
          return true
        }
        let listener = try UnixListener<UnixStream>.bind(to: address, authorization: authorization)
        let accepting = Task(executorPreference: loop.taskExecutor) { try await listener.accept() }
        let client = try await UnixStream.connect(to: address)
        for await _ in started {}
        accepting.cancel()
        await #expect(throws: CancellationError.self) { try await accepting.value }
        #expect(try await client.receiveMessage() == nil)
        await listener.close()
      }
    }
  }
}

/// The tests of both drivers run concurrently, and only one of them may change a setting of the
/// whole machine.
private let testsRunOnEpoll =
  getenv("MESSAGE_SOCKETS_DRIVER").map { String(cString: $0) } == "epoll"
