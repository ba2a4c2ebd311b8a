// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import SocketEngine

/// vsock without a peer that answers: any machine whose kernel has the family.
extension KernelTests {
  @Suite(
    .enabled(if: VsockLoopback.familyExists, "this kernel has no vsock"), .timeLimit(.minutes(2)))
  struct VsockWithoutPeer {
    @Test func aListenerGetsItsPortAndGivesItBack() async throws {
      try await withDescriptorOracle { loop in
        let anywhere = VsockAddress(.any, port: VsockAddress.anyPort)
        let listener = try VsockListener<VsockStream>.bind(to: anywhere, on: loop)
        #expect(listener.address.context == .any)
        #expect(listener.address.port != VsockAddress.anyPort)
        #expect(try await listener.localAddress()?.vsock == listener.address)
        let busy = try #require(
          await errorThrown {
            _ = try VsockListener<VsockStream>.bind(to: listener.address, on: loop)
          })
        #expect(busy.code == .addressInUse)
        #expect(busy.address?.vsock == listener.address)
        let accepting = Task { try await listener.accept() }
        await untilOperationsArePending(1, on: loop)
        await listener.close()
        #expect(await codeThrown { _ = try await accepting.value } == .closed)
        let again = try VsockListener<VsockStream>.bind(to: listener.address, on: loop)
        #expect(again.address == listener.address)
        await again.close()
        #expect(
          await codeThrown {
            _ = try VsockListener<VsockStream>.bind(
              to: VsockAddress(VsockContextID(rawValue: 4_000_000_000), port: 77777), on: loop)
          } == .addressNotAvailable)
      }
    }

    @Test func anAddressThatNoTransportAnswersAt() async throws {
      try await withDescriptorOracle { loop in
        let nowhere = VsockAddress(VsockContextID(rawValue: 4_000_000_000), port: 1024)
        let settings = [
          SocketSetting(.vsockConnectTimeout, VsockConnectTimeout(.milliseconds(100)))
        ]
        let error = try #require(
          await errorThrown {
            _ = try await VsockStream.connect(to: nowhere, settings: settings, on: loop)
          })
        #expect([.timedOut, .hostUnreachable].contains(error.code), "\(error)")
        #expect(error.address?.vsock == nowhere)
      }
    }

    @Test(.enabled(if: VsockLoopback.isGuest, "no transport to a host"))
    func aConnectionThatIsUnderWayIsCancelled() async throws {
      try await withDescriptorOracle { loop in
        let nowhere = VsockAddress(VsockContextID(rawValue: 4_000_000_000), port: 1024)
        let settings = [SocketSetting(.vsockConnectTimeout, VsockConnectTimeout(.seconds(60)))]
        let task = Task(executorPreference: loop.taskExecutor) {
          try await VsockStream.connect(to: nowhere, settings: settings, on: loop)
        }
        await untilOperationsArePending(1, on: loop)
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
      }
    }

    @Test func optionsAreSetAndReadBack() async throws {
      try await withDescriptorOracle { loop in
        let listener = try VsockListener<VsockStream>.bind(
          to: VsockAddress(.any, port: VsockAddress.anyPort),
          settings: [
            SocketSetting(.vsockMaximumBufferSize, 1 << 20),
            SocketSetting(.vsockBufferSize, 512 << 10),
          ], on: loop)
        #expect(try await listener.option(.vsockMaximumBufferSize) == 1 << 20)
        #expect(try await listener.option(.vsockBufferSize) == 512 << 10)
        let timeout = VsockConnectTimeout(.milliseconds(1500))
        try await listener.setOption(.vsockConnectTimeout, to: timeout)
        #expect(try await listener.option(.vsockConnectTimeout) == timeout)
        #expect(try await listener.option(.family) == AF_VSOCK)
        await listener.close()
      }
    }

    @Test func socketsOfOtherKindsAreNotAdopted() async throws {
      try await withDescriptorOracle { loop in
        func make(_ family: Int32) throws -> OwnedFd {
          let number = Glibc.socket(family, Int32(SOCK_STREAM.rawValue), 0)
          try #require(number >= 0)
          return OwnedFd(adopting: FileDescriptor(rawValue: number))
        }
        let error = await errorThrown {
          _ = try VsockStream(adopting: try make(AF_INET), on: loop)
        }
        #expect(error?.code == .wrongSocketKind)
        #expect(error?.detail == "it is a IPv4 stream socket; expected a vsock stream socket")
        #expect(
          await codeThrown { _ = try UnixStream(adopting: try make(AF_VSOCK), on: loop) }
            == .wrongSocketKind)
        #expect(
          await codeThrown {
            _ = try VsockListener<VsockStream>(adopting: try make(AF_VSOCK), on: loop)
          } == .wrongSocketKind)
        let unconnected = try VsockStream(adopting: try make(AF_VSOCK), on: loop)
        #expect(await codeThrown { _ = try await unconnected.peerContext() } == .notConnected)
        await unconnected.close()
        let listener = try VsockListener<VsockStream>.bind(
          to: VsockAddress(.any, port: VsockAddress.anyPort), on: loop)
        let adopted = try VsockListener<VsockStream>(
          adopting: try await listener.release(), on: loop)
        #expect(adopted.address == listener.address)
        await adopted.close()
      }
    }
  }
}

/// Connections over the loopback transport.
extension KernelTests {
  @Suite(
    .enabled(if: !VsockLoopback.kinds.isEmpty, VsockLoopback.isMissing), .timeLimit(.minutes(2)))
  struct Vsock {
    @Test(arguments: VsockLoopback.kinds) func messagesGoBothWays(kind: VsockKind) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await kind.makePair(on: loop)
        #expect(try await left.peerContext() == .local)
        #expect(try await right.peerContext() == .local)
        let name = try await right.peerAddress()?.vsock
        #expect(try await left.localAddress()?.vsock?.port == name?.port)
        #expect("\(left)".contains("connected to vsock:1:"), "\(left)")
        for size in [1, 100, 30_000] {
          let payload = [UInt8]((0..<size).map { UInt8(truncatingIfNeeded: $0) })
          try await left.sendMessage(payload)
          let isWhole = try await receive(size, from: right) == payload
          #expect(isWhole)
          try await right.sendMessage(payload)
          let isWholeToo = try await receive(size, from: left) == payload
          #expect(isWholeToo)
        }
        await left.close()
        #expect(try await right.receiveMessage() == nil)
        #expect(await codeThrown { try await right.sendMessage([1]) } == .peerClosed)
        await right.close()
      }
    }

    /// The sender has to wait for room again and again, and the kernel takes parts of its messages.
    @Test(arguments: VsockLoopback.kinds) func manyBytesToASlowReceiver(kind: VsockKind)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try await kind.makePair(on: loop)
        let sizes = (0..<40).map { 1 + $0 * 7919 % 60_000 }
        let sending = Task(executorPreference: loop.taskExecutor) {
          for (index, size) in sizes.enumerated() {
            try await left.sendMessage(Self.payload(index, size))
          }
          try await left.shutdown(.sending)
        }
        await untilSendsStall(on: loop)
        let received = try await payloads(of: right)
        try await sending.value
        let expected = sizes.enumerated().map { Self.payload($0.offset, $0.element) }
        if kind == .seqpacket {
          #expect(received.map(\.count) == sizes)
          // Without the differences, which take minutes to find in so many bytes.
          let isWhole = received == expected
          #expect(isWhole)
        } else {
          let isWhole = received.reduce([], +) == expected.reduce([], +)
          #expect(isWhole)
        }
        await left.close()
        await right.close()
      }
    }

    /// Bytes that are another message's if one of its pieces is missing, doubled or misplaced.
    static func payload(_ index: Int, _ size: Int) -> [UInt8] {
      var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: size)
      for place in stride(from: 0, to: size, by: 61) {
        bytes[place] = UInt8(truncatingIfNeeded: place / 61)
      }
      return bytes
    }

    @Test(arguments: VsockLoopback.kinds) func bothDirectionsAtOnce(kind: VsockKind) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await kind.makePair(on: loop)
        func send(_ socket: any VsockConnection) async throws {
          for index in 0..<40 { try await socket.sendMessage(Self.payload(index, 20_000)) }
          try await socket.shutdown(.sending)
        }
        func count(_ socket: any VsockConnection) async throws -> Int {
          try await payloads(of: socket).reduce(0) { $0 + $1.count }
        }
        async let sent: Void = send(left)
        async let answered: Void = send(right)
        async let there = count(right)
        async let back = count(left)
        #expect(try await (there, back) == (800_000, 800_000))
        try await sent
        try await answered
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: VsockLoopback.kinds) func cancelledReceivesAndAcceptsLoseNothing(
      kind: VsockKind
    ) async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await kind.makePair(on: loop)
        for byte in 0..<20 as Range<UInt8> {
          let receiving = Task(executorPreference: loop.taskExecutor) {
            try await right.receiveMessage()?.payload
          }
          await untilOperationsArePending(1, on: loop)
          receiving.cancel()
          try await left.sendMessage([byte])
          do {
            #expect(try await receiving.value == [byte])
          } catch is CancellationError {
            #expect(try await right.receiveMessage()?.payload == [byte])
          }
        }
        await left.close()
        await right.close()
        let listener = try VsockListener<VsockStream>.bind(
          to: VsockAddress(.any, port: VsockAddress.anyPort), on: loop)
        let accepting = Task { try await listener.accept() }
        await untilOperationsArePending(1, on: loop)
        accepting.cancel()
        await #expect(throws: CancellationError.self) { _ = try await accepting.value }
        let client = try await VsockStream.connect(
          to: VsockAddress(.local, port: listener.address.port), on: loop)
        let server = try await listener.accept()
        try await client.sendMessage([1])
        #expect(try await server.receiveMessage()?.payload == [1])
        for socket in [client, server] { await socket.close() }
        await listener.close()
      }
    }

    @Test(arguments: VsockLoopback.kinds) func aSendThatWaitsEndsWithItsDirection(kind: VsockKind)
      async throws
    {
      try await withDescriptorOracle { loop in
        for isOwnShutdown in [true, false] {
          let (left, right) = try await kind.makePair(on: loop)
          let sending = Task(executorPreference: loop.taskExecutor) {
            while true { try await left.sendMessage(Self.payload(0, 50_000)) }
          }
          await untilSendsStall(on: loop)
          if isOwnShutdown {
            try await left.shutdown(.sending)
          } else {
            try await right.shutdown(.receiving)
          }
          #expect(
            await codeThrown { try await sending.value } == .peerClosed, "own \(isOwnShutdown)")
          await left.close()
          await right.close()
        }
      }
    }

    @Test(arguments: VsockLoopback.kinds) func closingEndsASendThatWaits(kind: VsockKind)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try await kind.makePair(on: loop)
        let sending = Task(executorPreference: loop.taskExecutor) {
          while true { try await left.sendMessage(Self.payload(0, 50_000)) }
        }
        await untilSendsStall(on: loop)
        await left.close()
        let error = await errorThrown { try await sending.value }
        // A stream has sent a part of its last message.
        #expect([.closed, .partialSend].contains(error?.code), "\(error as Any)")
        await right.close()
      }
    }

    @Test(arguments: VsockLoopback.kinds) func aLoopShutsDownWhileASendWaits(kind: VsockKind)
      async throws
    {
      try await withOwnLoop { loop in
        let (left, right) = try await kind.makePair(on: loop)
        let sending = Task {
          while true { try await left.sendMessage(Self.payload(0, 50_000)) }
        }
        // The receiver's buffer holds five messages, so the sixth waits or is about to.
        while await loop.statistics.messagesSent < 5 { await Task.yield() }
        await loop.shutdown()
        let error = await errorThrown { try await sending.value }
        #expect([.loopShutDown, .partialSend].contains(error?.code), "\(error as Any)")
        await left.close()
        await right.close()
      }
    }

    @Test func refusedConnections() async throws {
      try await withDescriptorOracle { loop in
        let listener = try VsockListener<VsockStream>.bind(
          to: VsockAddress(.any, port: VsockAddress.anyPort), backlog: 1, on: loop)
        let address = VsockAddress(.local, port: listener.address.port)
        var queued: [VsockStream] = []
        let full = try #require(
          await errorThrown {
            for _ in 0..<8 { queued.append(try await VsockStream.connect(to: address, on: loop)) }
          })
        #expect(full.code == .connectionRefused, "\(full)")
        #expect(full.address?.vsock == address)
        #expect(!queued.isEmpty)
        await listener.close()
        let gone = try #require(
          await errorThrown { _ = try await VsockStream.connect(to: address, on: loop) })
        #expect(gone.code == .connectionRefused, "\(gone)")
        #expect(gone.errno == .connectionReset)
        for socket in queued { await socket.close() }
      }
    }

    @Test func whatVsockDoesNotCarryIsATypedError() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await VsockStream.makePair(on: loop)
        var control = ControlMessageBuffer()
        control.append(Credentials(processID: getpid(), userID: getuid(), groupID: getgid()))
        let error = await errorThrown { try await left.sendMessage([1], control: control) }
        #expect(error?.code == .notSupported)
        #expect(error?.detail == "vsock carries no control messages")
        try await left.sendMessage([])
        try await left.sendMessage([2])
        #expect(try await right.receiveMessage()?.payload == [2])
        await left.close()
        await right.close()
      }
    }

    @Test func peersAreAdmittedByContext() async throws {
      try await withDescriptorOracle { loop in
        let rules: [(Authorization, Bool)] = [
          (.contexts([.local]), true), (.contexts([.host]), false), (.sameUser, false),
          (.custom { $0.contextID == .local && $0.userID == nil }, true),
        ]
        for (rule, isAdmitted) in rules {
          let refusals = Mutex<[String]>([])
          let listener = try VsockListener<VsockStream>.bind(
            to: VsockAddress(.any, port: VsockAddress.anyPort),
            authorization: rule.reporting { refusal in
              refusals.withLock { $0.append("\(refusal)") }
            }, on: loop)
          let accepting = Task { try await listener.accept() }
          let client = try await VsockStream.connect(
            to: VsockAddress(.local, port: listener.address.port), on: loop)
          if isAdmitted {
            let server = try await accepting.value
            try await server.sendMessage([1])
            #expect(try await client.receiveMessage()?.payload == [1])
            await server.close()
          } else {
            #expect(try await client.receiveMessage() == nil)
            #expect(refusals.withLock { $0 } == ["refused a connection of context 1"])
            accepting.cancel()
            _ = await accepting.result
          }
          await client.close()
          await listener.close()
        }
      }
    }

    @Test func aServerDrains() async throws {
      try await withDescriptorOracle { loop in
        let listener = try VsockListener<VsockStream>.bind(
          to: VsockAddress(.any, port: VsockAddress.anyPort), on: loop)
        let server = Task(executorPreference: loop.taskExecutor) {
          try await listener.serve { connection in
            for try await message in connection.messages.untilDraining() {
              try await connection.sendMessage(message.payload)
            }
          }
        }
        let client = try await VsockStream.connect(
          to: VsockAddress(.local, port: listener.address.port), on: loop)
        try await client.sendMessage([5])
        #expect(try await client.receiveMessage()?.payload == [5])
        server.cancel()
        #expect(try await client.receiveMessage() == nil)
        try await server.value
        await client.close()
      }
    }

    @Test(arguments: VsockLoopback.kinds) func anotherProcessAnswersAndDies(kind: VsockKind)
      async throws
    {
      try await withDescriptorOracle { loop in
        let output = try OutputPipe()
        let server = try output.feed {
          try ChildProcess(
            [ProbeTool.path, "task=vsock-\(kind)"], descriptors: [1: $0])
        }
        let port = try #require(UInt32(try output.readLine()))
        let address = VsockAddress(.local, port: port)
        let client: any VsockConnection =
          switch kind {
          case .stream: try await VsockStream.connect(to: address, on: loop)
          case .seqpacket: try await VsockSeqpacket.connect(to: address, on: loop)
          }
        for index in 0..<50 {
          let payload = Self.payload(index, 1 + index * 997)
          try await client.sendMessage(payload)
          let isWhole = try await receive(payload.count, from: client) == payload
          #expect(isWhole)
        }
        kill(server.id, SIGKILL)
        #expect(await server.end() == -SIGKILL)
        #expect(try await client.receiveMessage() == nil)
        await client.close()
      }
    }
  }
}

/// Sequential packets, of which the kernel may send a part.
extension KernelTests {
  @Suite(
    .enabled(if: VsockLoopback.hasSeqpacket, VsockLoopback.hasNoSeqpacket), .timeLimit(.minutes(2)))
  struct VsockSeqpackets {
    /// After a send that was stopped, the peer finds whole messages and then the end.
    @Test(arguments: [true, false]) func aStoppedSendEndsTheSendingSide(isDeadline: Bool)
      async throws
    {
      try await withDescriptorOracle { loop in
        let (left, right) = try await VsockSeqpacket.makePair(on: loop)
        let sent = Mutex(0)
        let sending = Task(executorPreference: loop.taskExecutor) {
          while true {
            try await left.sendMessage(
              Vsock.payload(0, 50_000),
              deadline: isDeadline ? .now + .milliseconds(200) : .never)
            sent.withLock { $0 += 1 }
          }
        }
        if isDeadline {
          #expect(await codeThrown { try await sending.value } == .deadlineExceeded)
        } else {
          // The buffer holds five messages, so the sixth waits. That nothing has moved for some
          // turns would not say so: on epoll a thread may not have begun to send.
          while sent.withLock({ $0 }) < 5 { await Task.yield() }
          await untilOperationsArePending(1, on: loop)
          sending.cancel()
          await #expect(throws: CancellationError.self) { try await sending.value }
        }
        #expect(await codeThrown { try await left.sendMessage([1]) } == .peerClosed)
        let received = try await payloads(of: right)
        let isWhole = received == Array(repeating: Vsock.payload(0, 50_000), count: 5)
        #expect(isWhole, "\(received.map(\.count))")
        #expect(sent.withLock { $0 } == 5)
        // The other direction goes on.
        try await right.sendMessage([7])
        #expect(try await left.receiveMessage()?.payload == [7])
        await left.close()
        await right.close()
      }
    }

    @Test func messagesThatCannotBeSent() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await VsockSeqpacket.makePair(
          settings: [SocketSetting(.vsockBufferSize, 4096)], on: loop)
        #expect(await codeThrown { try await left.sendMessage([]) } == .emptyPayload)
        #expect(
          await codeThrown { try await left.sendMessage([1], options: .doNotWait) }
            == .notSupported)
        try await left.sendMessage([1])
        #expect(try await right.receiveMessage()?.payload == [1])
        let error = await errorThrown { try await left.sendMessage(Vsock.payload(0, 4097)) }
        // Linux before 6.2 has no other name for it.
        #expect(
          [.messageTooLarge, .outOfMemory].contains(error?.code), "\(error as Any)")
        if error?.code == .messageTooLarge {
          try await left.sendMessage(Vsock.payload(0, 4096))
          #expect(try await right.receiveMessage()?.byteCount == 4096)
        }
        await left.close()
        await right.close()
      }
    }

    @Test func aMessageThatIsTooLongForTheReceiverIsCut() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try await VsockSeqpacket.makePair(on: loop)
        try await left.sendMessage(Vsock.payload(0, 100_000))
        try await left.sendMessage([2])
        let error = try #require(await errorThrown { _ = try await right.receiveMessage() })
        #expect(error.code == .messageIncomplete)
        #expect(error.message?.outcome.fullLength == 100_000)
        #expect(try await right.receiveMessage()?.payload == [2])
        await left.close()
        await right.close()
      }
    }
  }
}

/// Receives so many bytes: of a stream piece by piece.
private func receive(_ count: Int, from socket: any VsockConnection) async throws -> [UInt8] {
  var bytes: [UInt8] = []
  repeat {
    guard let message = try await socket.receiveMessage() else { break }
    bytes += message.payload
  } while bytes.count < count
  return bytes
}

/// What arrives until the end.
private func payloads(of socket: some VsockConnection) async throws -> [[UInt8]] {
  var payloads: [[UInt8]] = []
  for try await message in socket.messages { payloads.append(message.payload) }
  return payloads
}
