// SPDX-License-Identifier: Apache-2.0
import Glibc
@testable import MessageSockets
import SystemPackage
import Testing

/// Passes a path in a new directory, which is removed afterwards.
func withTemporaryPath(_ body: (FilePath) async throws -> Void) async throws {
  var template = Array("/tmp/message-sockets-XXXXXX".utf8CString)
  let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
  try #require(made)
  let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer {
    unlink(directory + "/socket")
    rmdir(directory)
  }
  try await body(FilePath(directory + "/socket"))
}

extension KernelTests {
  @Suite struct Listeners {
    @Test func connectionsOverAPath() async throws {
      try await withTemporaryPath { path in
        try await exchange(UnixStream.self, at: try UnixAddress(path: path))
      }
    }

    @Test func seqpacketConnectionsOverAPath() async throws {
      try await withTemporaryPath { path in
        try await exchange(UnixSeqpacket.self, at: try UnixAddress(path: path))
      }
    }

    @Test func connectionsOverAnAbstractAddress() async throws {
      try await exchange(
        UnixStream.self,
        at: try UnixAddress(abstract: Array("message-sockets-test-\(getpid())".utf8)))
    }

    private func exchange<Connection: UnixConnection>(_: Connection.Type, at address: UnixAddress)
      async throws
    {
      try await withDescriptorOracle { _ in
        let listener = try UnixListener<Connection>.bind(to: address)
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            for try await connection in listener.connections {
              while let message = try await connection.receiveMessage() {
                let descriptors = message.takeDescriptors()
                try await connection.sendMessage(message.payload, descriptors: descriptors.span)
              }
            }
          }
          for number in 0..<10 {
            let client = try await Connection.connect(to: address)
            try await client.sendMessage([UInt8(number)], descriptor: try .numbered(number))
            let echo = try #require(try await client.receiveMessage())
            #expect(echo.payload == [UInt8(number)])
            #expect(try echo.takeDescriptor()?.number == number)
            await client.close()
          }
          await listener.close()
          try await group.waitForAll()
        }
      }
    }

    @Test func manyClientsWaitForAFullBacklog() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: Array("message-sockets-backlog-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address, backlog: 1)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for _ in 0..<16 {
            group.addTask {
              let client = try await UnixStream.connect(to: address)
              #expect(try await client.receiveMessage()?.payload == [1])
            }
          }
          for _ in 0..<16 {
            let connection = try await listener.accept()
            try await connection.sendMessage([1])
          }
          try await group.waitForAll()
        }
        await listener.close()
      }
    }

    @Test func aCancelledAcceptLeavesTheConnectionForTheNext() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: Array("message-sockets-accept-\(getpid())".utf8))
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let accepting = Task(executorPreference: loop.taskExecutor) { try await listener.accept() }
        await untilOperationsArePending(1, on: loop)
        accepting.cancel()
        await #expect(throws: CancellationError.self) { try await accepting.value }
        let client = try await UnixStream.connect(to: address)
        let connection = try await listener.accept()
        try await client.sendMessage([3])
        #expect(try await connection.receiveMessage()?.payload == [3])
        await listener.close()
      }
    }

    @Test func leavingTheConnectionsLosesNone() async throws {
      try await withDescriptorOracle { _ in
        let address = try UnixAddress(abstract: "message-sockets-leaving-\(getpid())")
        let listener = try UnixListener<UnixStream>.bind(to: address)
        var clients: [UnixStream] = []
        for number in 0..<3 {
          clients.append(try await UnixStream.connect(to: address))
          try await clients[number].sendMessage([UInt8(number)])
        }
        for try await connection in listener.connections {
          #expect(try await connection.receiveMessage()?.payload == [0])
          break
        }
        #expect(try await listener.accept().receiveMessage()?.payload == [1])
        for try await connection in listener.connections {
          #expect(try await connection.receiveMessage()?.payload == [2])
          break
        }
        await listener.close()
      }
    }

    @Test func severalIterationsShareTheConnectionsAndEndTogether() async throws {
      try await withDescriptorOracle { loop in
        let address = try UnixAddress(abstract: "message-sockets-sharing-\(getpid())")
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let servers = (0..<3).map { _ in
          Task(executorPreference: loop.taskExecutor) {
            var count = 0
            for try await connection in listener.connections {
              try await connection.sendMessage([1])
              count += 1
            }
            return count
          }
        }
        for _ in 0..<9 {
          #expect(try await UnixStream.connect(to: address).receiveMessage()?.payload == [1])
        }
        await listener.close()
        var count = 0
        for server in servers { count += try await server.value }
        #expect(count == 9)
      }
    }

    @Test func anErrorEndsTheConnectionsOnce() async throws {
      try await withOwnLoop { loop in
        let address = try UnixAddress(abstract: "message-sockets-error-\(getpid())")
        let listener = try UnixListener<UnixStream>.bind(to: address, on: loop)
        var connections = listener.connections.makeAsyncIterator()
        await loop.shutdown()
        do {
          _ = try await connections.next(isolation: #isolation)
          Issue.record("a connection of a loop that is shut down")
        } catch { #expect((error as? SocketError)?.code == .loopShutDown) }
        #expect(try await connections.next(isolation: #isolation) == nil)
        await listener.close()
      }
    }

    /// The kernel accepts each form, and returns it unchanged; a path of 108 bytes has no NUL after
    /// it.
    @Test(arguments: TestedSocket.unix, [107, 108])
    func pathsAsLongAsThereIsRoom(socket: TestedSocket, length: Int) async throws {
      try await withTemporaryPath { path in
        let directory = path.removingLastComponent().string + "/"
        let bytes = Array(
          (directory + String(repeating: "x", count: length - directory.utf8.count)).utf8)
        try await bindAndTalk(socket, at: UnixAddress(pathBytes: bytes))
      }
    }

    @Test(arguments: TestedSocket.unix, [[65, 0, 66], [65, 0, 0], [0, 0]] as [[UInt8]])
    func abstractNamesWithNULs(socket: TestedSocket, ending: [UInt8]) async throws {
      try await bindAndTalk(
        socket, at: UnixAddress(abstract: Array("message-sockets-nul-\(getpid())".utf8) + ending))
    }

    private func bindAndTalk(_ socket: TestedSocket, at address: UnixAddress) async throws {
      try await withDescriptorOracle { _ in
        switch socket {
        case .unixStream: try await listenAndTalk(UnixStream.self, at: address)
        case .unixSeqpacket: try await listenAndTalk(UnixSeqpacket.self, at: address)
        default:
          let receiver = try UnixDatagram.bind(to: address)
          #expect(try await receiver.localAddress()?.unix == address)
          try await UnixDatagram().sendMessage([1], descriptor: try .numbered(1), to: address)
          #expect(try await receiver.receiveMessage()?.takeDescriptor()?.number == 1)
          await receiver.close()
        }
      }
    }

    private func listenAndTalk<Socket: UnixConnection>(_: Socket.Type, at address: UnixAddress)
      async throws
    {
      let listener = try UnixListener<Socket>.bind(to: address)
      let client = try await Socket.connect(to: address)
      let server = try await listener.accept()
      #expect(try await client.peerAddress()?.unix == address)
      try await client.sendMessage([1], descriptor: try .numbered(1))
      #expect(try await server.receiveMessage()?.takeDescriptor()?.number == 1)
      await listener.close()
    }

    /// Not a listener, so accept(2) fails with EOPNOTSUPP, which it also reports for a connection
    /// that failed before it was accepted.
    private actor NoListener: SocketListener {
      let channel: SocketChannel
      let connectionGroup: IOLoopGroup? = nil

      init(on loop: IOLoop) throws {
        channel = SocketChannel(
          adopting: try .socket(AF_UNIX, 2 | O_NONBLOCK), kind: .stream, loop: loop)
      }

      nonisolated var unownedExecutor: UnownedSerialExecutor { channel.unownedExecutor }

      static func makeConnection(_ channel: SocketChannel) -> UnixStream {
        UnixStream(channel: channel)
      }
    }

    @Test func errorsOfTheNetworkPassAndTheEndIsToldOnce() async throws {
      try await withDescriptorOracle { loop in
        let listener = try NoListener(on: loop)
        #expect(
          await errorThrown { _ = try await listener.accept() }?.errno == .notSupportedOnSocket)
        let accepting = Task(executorPreference: loop.taskExecutor) {
          var connections = listener.connections.makeAsyncIterator()
          await #expect(throws: CancellationError.self) {
            _ = try await connections.next(isolation: #isolation)
          }
          return try await connections.next(isolation: #isolation) == nil
        }
        // It waits and tries again.
        let before = await loop.statistics.completions
        while await loop.statistics.completions < before + 3 { await Task.yield() }
        accepting.cancel()
        #expect(try await accepting.value)
        await listener.close()
      }
    }

    @Test func addressesThatCannotBeUsed() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = try UnixAddress(path: path)
          #expect(await codeThrown { _ = try await UnixStream.connect(to: address) } == .notFound)
          let listener = try UnixListener<UnixStream>.bind(to: address)
          #expect(
            await codeThrown { _ = try UnixListener<UnixStream>.bind(to: address) } == .addressInUse
          )
          #expect(
            await codeThrown { _ = try await UnixSeqpacket.connect(to: address) }
              == .wrongSocketKind)
          await listener.close()
          #expect(await codeThrown { _ = try await UnixStream.connect(to: address) } == .notFound)
          let inMissingDirectory = try UnixAddress(path: path.appending("x"))
          #expect(
            await codeThrown { _ = try UnixListener<UnixStream>.bind(to: inMissingDirectory) }
              != nil)
          #expect(throws: AncillaryError.self) {
            try UnixAddress(path: FilePath("/" + String(repeating: "x", count: 108)))
          }
        }
      }
    }
  }
}
