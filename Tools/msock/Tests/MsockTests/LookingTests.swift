// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import SharedMemory
import Testing

/// `msock who`, `inspect` and `driver`, as processes; help and completions.
@Suite(.timeLimit(.minutes(2))) struct LookingTests {
  @Test(arguments: ["", "--seqpacket"]) func whoListens(kind: String) throws {
    let ended = try bash(
      """
      start receive "$T/desk" --count 0 \(kind)
      "$MSOCK" who "$T/desk" --json
      "$MSOCK" who "$T/desk"
      echo "$pid"
      """)
    let lines = ended.lines
    try #require(lines.count == 3, "\(ended)")
    #expect(lines[0].contains("\"process\":\(lines[2])"))
    #expect(lines[0].contains("\"user\":\(getuid())"))
    #expect(lines[1].hasPrefix("process \(lines[2]), user \(getuid()), group \(getgid())"))
  }

  /// At an abstract address, a socket of another kind refuses as if no process listened.
  @Test func whoListensAtAnAbstractAddress() throws {
    let address = abstractAddress()
    let ended = try bash(
      """
      "$MSOCK" who \(address); echo "$?"
      start receive \(address) --count 0 --seqpacket
      "$MSOCK" who \(address) --json
      echo "$pid"
      "$MSOCK" send --message x --to \(address); echo "$?"
      """)
    let lines = ended.lines
    try #require(lines.count == 4, "\(ended)")
    #expect(lines[0] == "69")
    #expect(lines[1].contains("\"process\":\(lines[2])"), "\(ended)")
    #expect(lines[3] == "69")
    #expect(ended.errors.contains("try it with --seqpacket"), "\(ended)")
  }

  /// Inspects this process: a sealed memory file, and a socket.
  @Test func anotherProcess() async throws {
    let memory = try MutableMemory(byteCount: 10, name: "inspected").sealed()
    let number = memory.descriptor.withUnsafeFileDescriptor { $0.rawValue }
    let ended = try bash("\"$MSOCK\" inspect \(getpid()) --fd \(number) --json")
    let found = try #require(ended.jsonList?.first, "\(ended)")
    #expect(found["kind"] as? String == "memory file")
    #expect(
      Set(found["seals"] as? [String] ?? []).isSuperset(of: ["seal", "shrink", "grow", "write"]))
    #expect((found["target"] as? String)?.hasPrefix("/memfd:inspected") == true)
    #expect(found["fd"] as? Int == Int(number))
  }

  @Test func whatAProcessWasGiven() throws {
    let ended = try bash(
      """
      exec 7</etc/passwd
      "$MSOCK" inspect 5>>"$T/file" | awk '$1 != "FD" && $1 < 10 { print $1, $2, $3 }'
      """)
    // The standard descriptors, and none of the tool's own.
    let numbers = ended.lines.map { $0.prefix(1) }
    #expect(numbers == ["0", "1", "2", "5", "7"], "\(ended)")
    #expect(ended.lines[1] == "1 pipe write")
    #expect(ended.lines[3] == "5 regular file")
  }

  /// A peer's file names move no cursor and begin no line.
  @Test func namesOfFilesAreNoCommandsToTheTerminal() throws {
    let address = abstractAddress()
    let ended = try bash(
      """
      file=$T/$(printf 'a\\033[31mb\\n0: c')
      touch "$file"
      start receive \(address)
      "$MSOCK" send "$file" --message $'\\033[31m' --to \(address)
      wait "$pid"
      "$MSOCK" inspect --fd 5 5<"$file"
      "$MSOCK" send "$file/none" --to \(address)
      """)
    #expect(ended.lines.count == 4, "\(ended)")
    #expect(!(ended.output + ended.errors).contains("\u{1B}"), "\(ended)")
    #expect(ended.lines.filter { $0.hasSuffix("/a\\u{1b}[31mb\\u{a}0: c") }.count == 2, "\(ended)")
  }

  /// No other text of a peer does that either, whether it contains 7-bit or 8-bit control
  /// characters, line separators or direction marks; and JSON loses nothing.
  @Test func textsOfPeersAreNoCommandsToTheTerminal() throws {
    let text = "a\u{1B}\u{9B}\u{202E}\u{2028}b"
    let holder = """
      import json, socket, sys
      listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
      listener.bind(sys.argv[1])
      listener.listen()
      print("listening", flush=True)
      text = "a\\x1b\\x9b\\u202e\\u2028b"
      file = {"kind": text, "access": [text], "seals": [text], "target": text}
      for _ in range(2):
          peer, _ = listener.accept()
          peer.recv(1000)
          peer.send(json.dumps({"entries": [{"name": text, "descriptors": [file]}]}).encode())
          peer.close()
      """
    let address = abstractAddress()
    let ended = try bash(
      """
      exec 8< <(exec python3 -c "$HOLDER" "$T/held")
      read -r _ <&8
      "$MSOCK" hold list "$T/held"
      "$MSOCK" hold list "$T/held" --json
      start receive \(address) --count 1
      "$MSOCK" send --message "$TEXT" --to \(address)
      wait "$pid"
      start receive \(address) --count 1 --json
      "$MSOCK" send --message "$TEXT" --to \(address)
      wait "$pid"
      """, environment: ["HOLDER": holder, "TEXT": text])
    try #require(ended.lines.count == 5, "\(ended)")
    for scalar in text.unicodeScalars where !scalar.properties.isAlphabetic {
      #expect(!(ended.output + ended.errors).unicodeScalars.contains(scalar), "\(ended)")
    }
    let escaped = #"a\u{1b}\u{9b}\u{202e}\u{2028}b"#
    #expect(
      ended.lines[1].split(separator: " ").map(String.init) == Array(repeating: escaped, count: 5))
    #expect(ended.lines[3].lowercased() == "message: \"\(escaped)\"")
    func json(_ line: String) -> Any? { try? JSONSerialization.jsonObject(with: Data(line.utf8)) }
    #expect((json(ended.lines[2]) as? [[String: Any]])?.first?["name"] as? String == text)
    #expect((json(ended.lines[4]) as? [String: Any])?["message"] as? String == text)
  }

  @Test func processesThatCannotBeSeen() throws {
    let ended = try bash(
      """
      "$MSOCK" inspect 4194305; echo "$?"
      "$MSOCK" inspect "$$" --fd 4000; echo "$?"
      "$MSOCK" inspect --fd 4000; echo "$?"
      """)
    #expect(ended.lines == ["66", "66", "66"], "\(ended)")
  }

  @Test func whichDriver() throws {
    let epoll = try bash(
      "\"$MSOCK\" driver --json", environment: ["MESSAGE_SOCKETS_DRIVER": "epoll"])
    #expect(epoll.json?["driver"] as? String == "epoll")
    #expect((epoll.json?["reason"] as? String)?.contains("MESSAGE_SOCKETS_DRIVER") == true)
    let automatic = try bash(
      "\"$MSOCK\" driver", environment: ["MESSAGE_SOCKETS_DRIVER": "automatic"])
    #expect(automatic.status == 0)
    #expect(automatic.output.hasPrefix("io_uring: ") || automatic.output.hasPrefix("epoll: "))
    let wrong = try bash("\"$MSOCK\" driver", environment: ["MESSAGE_SOCKETS_DRIVER": "wrong"])
    #expect(wrong.status == 71)
  }

  @Test(arguments: [
    "send", "receive", "activate", "hold", "hold store", "hold list", "hold take", "call", "who",
    "inspect",
    "notify", "driver",
  ])
  func helpIsThere(command: String) throws {
    let ended = try bash("\"$MSOCK\" \(command) --help")
    #expect(ended.status == 0)
    #expect(ended.output.contains("USAGE: msock \(command)"), "\(ended)")
  }

  @Test(arguments: ["bash", "zsh", "fish"]) func completionsAreGenerated(shell: String) throws {
    let ended = try bash("\"$MSOCK\" --generate-completion-script \(shell)")
    #expect(ended.status == 0)
    #expect(ended.output.contains("msock"))
    if shell == "bash" {
      let checked = try bash("\"$MSOCK\" --generate-completion-script bash | bash -n")
      #expect(checked.status == 0 && checked.errors == "")
    }
  }
}
