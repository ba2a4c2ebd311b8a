// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  /// A message bus between this process and one that uses GLib's implementation of D-Bus. This
  /// process is the service `test.MessageSockets`, and dbus-daemon forwards the descriptors
  /// (`NEGOTIATE_UNIX_FD`).
  @Suite(
    .enabled(
      if: ForeignPeer.dbus.isAvailable,
      "dbus-daemon, or GLib for python3 (PyGObject), is not installed"), .timeLimit(.minutes(1)))
  struct BusInterop {
    @Test(arguments: [1, 4, 16]) func descriptorsPassTheBusBothWays(descriptors: Int) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address = "unix:path=\(path)"
          let words = [
            "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1",
            "--address=\(address)",
          ]
          let output = try OutputPipe()
          let errors = try OwnedFd.memoryFile()
          let daemon = try output.feed { output in
            try errors.withUnsafeFileDescriptor {
              try ChildProcess(words, descriptors: [1: output, 2: $0.rawValue])
            }
          }
          try await daemon.expectGoodEnd(
            after: {
              // The daemon listens once it prints its address.
              try #require(try output.readLine().hasPrefix(address))
              try await serve(UnixAddress(path: path), address, descriptors)
              daemon.terminate()
            }, printingTo: errors)
        }
      }
    }

    private func serve(_ bus: UnixAddress, _ address: String, _ descriptors: Int) async throws {
      let connection = try await BusConnection(to: bus)
      var name = BusWriter()
      name.append("test.MessageSockets")
      name.append(UInt32(4))
      let owned = try await connection.callBus("RequestName", "su", name.bytes)
      try #require(owned.body == [1, 0, 0, 0])
      try await ForeignPeer.dbus.run([address, "\(descriptors)"]) { _ in
        try await answerCalls(connection, descriptors)
      }
      await connection.close()
    }

    private func answerCalls(_ connection: BusConnection, _ descriptors: Int) async throws {
      var calls: [String] = []
      while calls.count < 4 {
        let (message, files) = try await connection.receive()
        guard message.kind == .call, let member = message.member else { continue }
        calls.append(member)
        var body = BusReader(message.body)
        if member == "Read" {
          #expect(message.signature == "ah")
          #expect(try body.number() == UInt32(4 * descriptors))
          for index in 0..<descriptors { #expect(try body.number() == UInt32(index)) }
          let count = files.list.count
          #expect(count == descriptors)
          try await connection.send(message.reply("as", try texts(in: &files.list)), OwnedFds())
        } else {
          let count = try Int(body.number())
          let made = try makeFiles(count)
          var indices = BusWriter()
          indices.appendArray { for index in 0..<count { $0.append(UInt32(index)) } }
          try await connection.send(
            message.reply("ah", indices.bytes, descriptorCount: count), made)
        }
      }
      #expect(calls == ["Read", "Make", "Read", "Make"])
    }

    private func texts(in files: inout OwnedFds) throws -> [UInt8] {
      var found: [String] = []
      while let file = files.takeFirst() { found.append(try file.text) }
      var body = BusWriter()
      body.appendArray { for text in found { $0.append(text) } }
      return body.bytes
    }

    private func makeFiles(_ count: Int) throws -> OwnedFds {
      var files = OwnedFds()
      for number in 0..<count { files.append(try .temporary("file \(number)")) }
      return files
    }
  }
}
