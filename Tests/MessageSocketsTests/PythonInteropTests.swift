import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// Python's `socket.send_fds` and `recv_fds` at the other end of a path socket, in a process of its own.
  @Suite(.enabled(if: PythonPeer.isAvailable, "python3 3.9 or newer is not installed"), .timeLimit(.minutes(1)))
  struct PythonInterop {
    /// How many messages, and how many descriptors in each.
    static let amounts = [(1, 1), (1, 3), (1, 253), (5, 2)]

    @Test(arguments: amounts)
    func streamReceivesFromPython(messages: Int, descriptors: Int) async throws {
      try await receive(UnixStream.self, "stream", messages, descriptors)
    }

    @Test(arguments: amounts)
    func seqpacketReceivesFromPython(messages: Int, descriptors: Int) async throws {
      try await receive(UnixSeqpacket.self, "seqpacket", messages, descriptors)
    }

    @Test(arguments: amounts)
    func streamSendsToPython(messages: Int, descriptors: Int) async throws {
      try await send(UnixStream.self, "stream", messages, descriptors)
    }

    @Test(arguments: amounts)
    func seqpacketSendsToPython(messages: Int, descriptors: Int) async throws {
      try await send(UnixSeqpacket.self, "seqpacket", messages, descriptors)
    }

    // MARK: Both directions

    private func receive<Socket: UnixConnection>(_: Socket.Type, _ kind: String, _ messages: Int, _ descriptors: Int) async throws {
      try await withPeer(Socket.self, [kind, "send"], [messages, descriptors]) { connection in
        var count = 0
        for try await message in connection.messages {
          #expect(message.payload == Array("message \(count)".utf8))
          #expect(message.descriptorCount == descriptors)
          #expect(message.outcome == .complete)
          for file in 0..<descriptors {
            guard let descriptor = message.takeDescriptor() else { break }
            let isCloseOnExec = descriptor.isCloseOnExec
            #expect(isCloseOnExec)
            let text = try descriptor.text
            #expect(text == "message \(count) file \(file)\n")
          }
          count += 1
        }
        #expect(count == messages)
        try await connection.sendMessage(Array("ok".utf8))
      }
    }

    private func send<Socket: UnixConnection>(_: Socket.Type, _ kind: String, _ messages: Int, _ descriptors: Int) async throws {
      try await withPeer(Socket.self, [kind, "receive"], [messages, descriptors]) { connection in
        for message in 0..<messages {
          var files = OwnedFds()
          for file in 0..<descriptors { files.append(try .temporary("message \(message) file \(file)\n")) }
          try await connection.sendMessage(Array("message \(message)".utf8), descriptors: files.span)
        }
        let verdict = try await connection.receiveMessage()
        #expect(verdict.map { String(decoding: $0.payload, as: UTF8.self) } == "ok")
      }
    }

    /// Listens, lets the script connect, and expects that it ends well.
    private func withPeer<Socket: UnixConnection>(
      _: Socket.Type, _ words: [String], _ numbers: [Int], _ body: (Socket) async throws -> Void
    ) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let listener = try UnixListener<Socket>.bind(to: UnixAddress(path: path))
          let peer = try PythonPeer(words + [path.string] + numbers.map { "\($0)" })
          let connection = try await listener.accept()
          try await body(connection)
          await connection.close()
          await listener.close()
          #expect(peer.exitStatus() == 0)
        }
      }
    }
  }
}

extension OwnedFd {
  /// A file without a name that contains `text`.
  fileprivate static func temporary(_ text: String) throws -> OwnedFd {
    var name = Array("/tmp/message-sockets-XXXXXX".utf8CString)
    let number = mkstemp(&name)
    try #require(number >= 0)
    let file = OwnedFd(adopting: FileDescriptor(rawValue: number))
    unlink(name)
    _ = fcntl(number, F_SETFD, FD_CLOEXEC)
    try file.withUnsafeFileDescriptor { _ = try $0.writeAll(toAbsoluteOffset: 0, Array(text.utf8)) }
    return file
  }

  /// The first kilobyte, from the start.
  fileprivate var text: String {
    get throws {
      try withUnsafeFileDescriptor { descriptor in
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = try unsafe bytes.withUnsafeMutableBytes { unsafe try descriptor.read(fromAbsoluteOffset: 0, into: $0) }
        return String(decoding: bytes[..<count], as: UTF8.self)
      }
    }
  }
}
