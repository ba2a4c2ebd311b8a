// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import Testing
import Varlink

/// `msock call` as a process; this process is the service.
@Suite(.timeLimit(.minutes(2))) struct CallTests {
  private struct Arguments: Codable { var file: Int? }
  private struct Answer: Codable {
    var text: String?
    var file: Int?
  }

  private static func service() -> VarlinkService {
    var interface = VarlinkInterface(
      "com.example.Files",
      description: """
        interface com.example.Files
        method Read(file: ?int) -> (text: ?string, file: ?int)
        method Open() -> (text: ?string, file: ?int)
        method Count() -> (text: ?string, file: ?int)
        method Refuse() -> ()
        method Wait() -> ()
        error Refused()
        """)
    interface.method("Read") { (arguments: Arguments, call) in
      let file = try call.takeDescriptor(at: arguments.file ?? 0)
      var bytes = [UInt8](repeating: 0, count: 100)
      let count = try file.withUnsafeFileDescriptor { file in
        try bytes.withUnsafeMutableBytes { try file.read(into: $0) }
      }
      return Answer(text: String(decoding: bytes[..<count], as: UTF8.self))
    }
    interface.method("Open") { (_: VarlinkEmpty, call) in
      let file = try FileDescriptor.open("/etc/hostname", .readOnly, options: .closeOnExec)
      return Answer(file: try call.push(OwnedFd(adopting: file)))
    }
    interface.method("Count") { (_: VarlinkEmpty, call) in
      for number in 1...3 { try await call.reply(Answer(text: "\(number)")) }
      return Answer(text: "end")
    }
    interface.method("Refuse") { (_: VarlinkEmpty, _) -> VarlinkEmpty in
      throw VarlinkError("com.example.Files.Refused")
    }
    interface.method("Wait") { (_: VarlinkEmpty, _) -> VarlinkEmpty in
      try await Task.sleep(for: .seconds(60))
      return VarlinkEmpty()
    }
    var service = VarlinkService(
      vendor: "Example", product: "Files", version: "1", url: "https://example.com")
    service.add(interface)
    return service
  }

  private func run(_ script: String) async throws -> Ended {
    let name = abstractAddress()
    let listener = try UnixListener<UnixStream>.bind(
      to: try UnixAddress(abstract: String(name.dropFirst())))
    let server = Task { try await Self.service().serve(listener) }
    let ended = try await inBackground { try bash(script, environment: ["SERVICE": name]) }
    server.cancel()
    try? await server.value
    await listener.close()
    return ended
  }

  @Test func methodsAreCalledWithDescriptorsBothWays() async throws {
    let ended = try await run(
      """
      echo one >"$T/one"; echo two >"$T/two"
      exec 5<"$T/one" 6<"$T/two"
      "$MSOCK" call "$SERVICE" com.example.Files.Read '{"file":1}' --push-fd 5 --push-fd 6
      "$MSOCK" call "unix:$SERVICE" com.example.Files.Open
      "$MSOCK" call "$SERVICE" com.example.Files.Open --cat | cmp - /etc/hostname && echo same
      "$MSOCK" call "$SERVICE" org.varlink.service.GetInfo
      """)
    try #require(ended.lines.count == 4, "\(ended)")
    #expect(ended.lines[0] == #"{"text":"two\n"}"#)
    #expect(ended.lines[1] == #"{"file":0}"#)
    #expect(ended.errors.contains("descriptor 0: regular file (read) /etc/hostname"))
    #expect(ended.lines[2] == "same")
    #expect(ended.lines[3].contains("com.example.Files"))
  }

  /// The value of the JSON does not change.
  @Test func repliesAreNoCommandsToTheTerminal() async throws {
    let ended = try await run(
      #"""
      printf 'a\033\302\233\342\200\256\342\200\250b' >"$T/file"
      "$MSOCK" call "$SERVICE" com.example.Files.Read --push-fd 5 5<"$T/file"
      """#)
    #expect(
      ended.lines.map { $0.lowercased() } == [#"{"text":"a\u001b\u009b\u202e\u2028b"}"#], "\(ended)"
    )
  }

  @Test func severalReplies() async throws {
    let ended = try await run(#""$MSOCK" call "$SERVICE" com.example.Files.Count --more"#)
    #expect(ended.status == 0)
    #expect(ended.lines == ["1", "2", "3", "end"].map { #"{"text":"\#($0)"}"# }, "\(ended)")
  }

  @Test func errorsHaveAStatus() async throws {
    let ended = try await run(
      """
      "$MSOCK" call "$SERVICE" com.example.Files.Refuse; echo "$?"
      "$MSOCK" call "$SERVICE" com.example.Files.None; echo "$?"
      "$MSOCK" call "$SERVICE" com.example.Files.Open 'no JSON'; echo "$?"
      "$MSOCK" call "$T/none" com.example.Files.Open '["file"]'; echo "$?"
      "$MSOCK" call "$SERVICE" nonsense; echo "$?"
      "$MSOCK" call tcp:127.0.0.1:1 com.example.Files.Open; echo "$?"
      "$MSOCK" call "$T/none" com.example.Files.Open; echo "$?"
      "$MSOCK" call "$SERVICE" com.example.Files.Wait --timeout 0.2; echo "$?"
      """)
    #expect(ended.lines == ["1", "1", "64", "64", "64", "66", "66", "75"], "\(ended)")
    #expect(ended.errors.contains("the parameters are no JSON object: 'no JSON'"), "\(ended)")
    #expect(ended.errors.contains("the service answers com.example.Files.Refused"))
  }
}
