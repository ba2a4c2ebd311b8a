// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Testing

/// The code examples of the documentation, compiled and run: the lines between the marks appear,
/// word for word, in the page that the mark names.
@Suite struct SocketSnippets {
  @Test func unixStream() async throws {
    var lines: [String] = []
    func print(_ line: String) { lines.append(line) }
    // begin UnixStream
    let (left, right) = try UnixStream.makePair()
    try await left.sendMessage(Array("GET /status\nGET /log\n".utf8))
    await left.close()

    var line: [UInt8] = []
    for try await byte in right.bytes {
      if byte == UInt8(ascii: "\n") {
        print(String(decoding: line, as: UTF8.self))
        line = []
      } else {
        line.append(byte)
      }
    }
    // end
    #expect(lines == ["GET /status", "GET /log"])
  }

  @Test func unixSeqpacket() async throws {
    // begin UnixSeqpacket
    let (supervisor, worker) = try UnixSeqpacket.makePair()
    let log = OwnedFd(
      adopting: try FileDescriptor.open("/dev/null", .writeOnly, options: .closeOnExec))
    try await supervisor.sendMessage(Array("log".utf8), descriptor: log)

    if let message = try await worker.receiveMessage(), let received = message.takeDescriptor() {
      try received.withUnsafeFileDescriptor { _ = try $0.writeAll("started\n".utf8) }
    }
    // end
  }

  @Test func unixDatagram() async throws {
    try await withTemporaryPath { path in
      // begin UnixDatagram
      let service = try UnixDatagram.bind(to: UnixAddress(path: path))
      let client = try UnixDatagram.bind(to: .autobind)
      try await client.sendMessage(Array("time?".utf8), to: UnixAddress(path: path))

      if let question = try await service.receiveMessage(), let sender = question.sender?.unix {
        try await service.sendMessage(Array("noon".utf8), to: sender)
      }
      let answer = try await client.receiveMessage()
      await service.close()  // Removes the file.
      // end
      #expect(answer?.payload == Array("noon".utf8))
    }
  }

  /// Not run: it would serve until its task is cancelled.
  private func vsockListener() async throws {
    // begin VsockListener
    let listener = try VsockListener<VsockStream>.bind(
      to: VsockAddress(.any, port: 1024), authorization: .contexts([.host]))
    try await listener.serve { connection in
      for try await request in connection.messages.untilDraining() {
        try await connection.sendMessage(request.payload)
      }
    }
    // end
  }

  @Test func unixListener() async throws {
    try await withTemporaryPath { path in
      // begin UnixListener
      let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: path))
      let server = Task {
        try await listener.serve { connection in
          for try await request in connection.messages {
            try await connection.sendMessage(request.payload)
          }
        }
      }

      let client = try await UnixSeqpacket.connect(to: listener.address)
      try await client.sendMessage(Array("hello".utf8))
      let answer = try await client.receiveMessage()
      await client.close()

      server.cancel()
      try await server.value
      // end
      #expect(answer?.payload == Array("hello".utf8))
    }
  }

  @Test func tcpListener() async throws {
    // begin TCPListener
    let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
    let client = try await TCPStream.connect(to: listener.address)
    for try await connection in listener.connections {
      try await connection.sendMessage(Array("welcome to port \(listener.address.port)\n".utf8))
      await connection.close()
      break
    }
    await listener.close()
    // end
    #expect(try await client.receiveMessage()?.payload.last == UInt8(ascii: "\n"))
  }

  @Test func tcpStream() async throws {
    let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
    let echo = Task {
      try await listener.serve {
        for try await byte in $0.bytes { try await $0.sendMessage([byte]) }
      }
    }
    let address = listener.address
    // begin TCPStream
    let stream = try await TCPStream.connect(to: address)
    try await stream.setOption(.noDelay, to: true)
    try await stream.sendMessage(Array("ping".utf8))
    try await stream.shutdown(.sending)

    var answer: [UInt8] = []
    for try await byte in stream.bytes { answer.append(byte) }
    // end
    #expect(answer == Array("ping".utf8))
    echo.cancel()
    try await echo.value
  }

  @Test func udpSocket() async throws {
    // begin UDPSocket
    let server = try UDPSocket.bind(to: InternetAddress(.loopback, port: 0))
    try await server.setOption(.packetInfoV4, to: true)
    let client = try UDPSocket.bind(to: InternetAddress(.loopback, port: 0))
    if let address = try await server.localAddress()?.internet {
      try await client.sendMessage(Array("query".utf8), to: address)
    }

    let query = try await server.receiveMessage()
    let cameTo = query?.packetInfoV4?.destination
    if let sender = query?.sender?.internet {
      try await server.sendMessage(Array("reply".utf8), to: sender)
    }
    let reply = try await client.receiveMessage()
    // end
    #expect(cameTo == .loopback)
    #expect(reply?.payload == Array("reply".utf8))
  }
}

/// Passes a path in a new directory, which is removed afterwards.
private func withTemporaryPath(_ body: (FilePath) async throws -> Void) async throws {
  var template = Array("/tmp/message-sockets-XXXXXX".utf8CString)
  let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
  try #require(made)
  let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer { rmdir(directory) }
  try await body(FilePath(directory + "/socket"))
}
