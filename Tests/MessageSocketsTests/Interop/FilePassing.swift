// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

/// Passes files between a socket and a foreign program, over a path. `Tests/Interop/fd_peer.py`
/// documents arguments, files and verdict.
struct FilePassing<Socket: UnixConnection> {
  let peer: ForeignPeer
  /// The arguments before the direction.
  let words: [String]
  let messages: Int
  let descriptors: Int
  /// The payload of the message with a number.
  let payload: (Int) -> [UInt8]

  init(
    _: Socket.Type, _ peer: ForeignPeer, _ words: [String], messages: Int, descriptors: Int,
    payload: @escaping (Int) -> [UInt8] = { Array("message \($0)".utf8) }
  ) {
    self.peer = peer
    self.words = words
    self.messages = messages
    self.descriptors = descriptors
    self.payload = payload
  }

  func receiveFromPeer() async throws {
    try await withPeer("send") { connection in
      var count = 0
      var verdict = "ok"
      for try await message in connection.messages {
        #expect(message.payload == payload(count))
        #expect(message.descriptorCount == descriptors)
        #expect(message.outcome == .complete)
        for file in 0..<descriptors {
          guard let descriptor = message.takeDescriptor() else { break }
          let isCloseOnExec = descriptor.isCloseOnExec
          #expect(isCloseOnExec)
          let text = try descriptor.text
          #expect(text == contents(count, file))
          verdict += " " + descriptor.identityText
        }
        count += 1
      }
      #expect(count == messages)
      try await connection.sendMessage(Array(verdict.utf8))
    }
  }

  func sendToPeer() async throws {
    try await withPeer("receive") { connection in
      var expected = "ok"
      for message in 0..<messages {
        var files = OwnedFds()
        for file in 0..<descriptors {
          let made = try OwnedFd.temporary(contents(message, file))
          expected += " " + made.identityText
          files.append(made)
        }
        try await connection.sendMessage(payload(message), descriptors: files.span)
      }
      let verdict = try await connection.receiveMessage()
      #expect(verdict.map { String(decoding: $0.payload, as: UTF8.self) } == expected)
    }
  }

  private func contents(_ message: Int, _ file: Int) -> String {
    "message \(message) file \(file)\n"
  }

  /// Listens, lets the program connect, and expects that the program succeeds.
  private func withPeer(_ direction: String, _ body: (Socket) async throws -> Void) async throws {
    try await withTemporaryPath { path in
      try await withDescriptorOracle { _ in
        let listener = try UnixListener<Socket>.bind(to: UnixAddress(path: path))
        try await peer.run(words + [direction, path.string, "\(messages)", "\(descriptors)"]) { _ in
          let connection = try await listener.accept()
          try await body(connection)
          await connection.close()
          await listener.close()
        }
      }
    }
  }
}
