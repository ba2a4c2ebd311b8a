// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import SystemPackage
import Testing

/// The program as its page shows it, in a shorter run.
@Suite(.timeLimit(.minutes(3))) struct HotRestartTests {
  @Test func tenReplacementsUnderLoad() throws {
    let output = Pipe()
    let demo = try program([
      "demo", "--replacements", "10", "--clients", "16", "--questions", "100",
    ])
    demo.standardOutput = output
    try demo.run()
    let printed = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    demo.waitUntilExit()
    #expect(demo.terminationReason == .exit && demo.terminationStatus == 0)
    #expect(printed.contains("0 refused, 0 lost, 0 answered wrongly or twice"), "\(printed)")
    #expect(printed.contains("11 processes"), "\(printed)")
  }

  /// As with `systemctl reload`, the process starts its successor itself.
  @Test func aSignalReplacesTheProcess() throws {
    let directory = FileManager.default.temporaryDirectory
      .appendingPathComponent("hot-restart-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let log = Pipe()
    let server = try program(
      ["serve", "--control", directory.appendingPathComponent("control").path, "--port", "0"])
    server.standardError = log
    try server.run()
    var lines = Lines(log.fileHandleForReading)
    // The process that was started is `timeout`; the program's own process ID is in its label.
    let ready = lines.next(with: "SIGHUP starts a successor") ?? ""
    let label = try #require(ready.range(of: "hot-restart "))
    let number = try #require(Int32(ready[label.upperBound...].prefix { $0.isNumber }))
    #expect(kill(number, SIGHUP) == 0)
    // Two processes write, in any order.
    let found = lines.next(with: ["started ", "instead of another process"])
    let started = found["started "]
    let successor = try #require(started?.split(separator: " ").last.flatMap { Int32($0) })
    #expect(found["instead of another process"] != nil)
    server.waitUntilExit()
    #expect(server.terminationReason == .exit && server.terminationStatus == 0)
    // The successor continues without its parent, and ends when asked to.
    #expect(kill(successor, SIGTERM) == 0)
    // `timeout` has ended with the first process.
    let last = DispatchWorkItem { kill(successor, SIGKILL) }
    DispatchQueue.global().asyncAfter(deadline: .now() + 60, execute: last)
    defer { last.cancel() }
    #expect(lines.next(with: "there is no such line") == nil)
  }

  enum Manager: CaseIterable { case isNotThere, neverAnswers }

  /// The manager cannot be reached or does not acknowledge: the process serves nevertheless, and
  /// reports it.
  @Test(arguments: Manager.allCases) func aManagerThatFails(manager: Manager) async throws {
    let directory = FileManager.default.temporaryDirectory
      .appendingPathComponent("hot-restart-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let notify = directory.appendingPathComponent("notify").path
    // No process reads from it.
    let deaf =
      manager == .neverAnswers
      ? try UnixDatagram.bind(to: UnixAddress(path: FilePath(notify))) : nil
    let log = Pipe()
    let server = try program(
      ["serve", "--control", directory.appendingPathComponent("control").path, "--port", "0"])
    server.environment = ProcessInfo.processInfo.environment.merging(
      ["NOTIFY_SOCKET": notify]) { $1 }
    server.standardError = log
    try server.run()
    var lines = Lines(log.fileHandleForReading)
    let found = lines.next(with: "listening on 0.0.0.0:")
    let listening = try #require(found)
    let port = try #require(UInt16(listening.split(separator: ":").last ?? ""))
    let label = try #require(listening.range(of: "hot-restart "))
    let number = try #require(Int32(listening[label.upperBound...].prefix { $0.isNumber }))
    let complaint = lines.next(with: "the service manager does not know that this process serves")
    #expect(complaint != nil)
    let answer = try await ask("hello", port: port)
    #expect(answer.hasSuffix(" hello\n"), "\(answer)")
    #expect(kill(number, SIGTERM) == 0)
    server.waitUntilExit()
    #expect(server.terminationStatus == 0)
    await deaf?.close()
  }

  private func ask(_ question: String, port: UInt16) async throws -> String {
    let socket = try await TCPStream.connect(
      to: InternetAddress(.loopback as IPv4Address, port: port))
    try await socket.sendMessage(Array("\(question)\n".utf8))
    var answer: [UInt8] = []
    while let message = try await socket.receiveMessage() { answer += message.payload }
    await socket.close()
    return String(decoding: answer, as: UTF8.self)
  }

  /// The output of all processes that write to a pipe, until the last of them has ended.
  private struct Lines {
    private let output: FileHandle
    private var bytes = Data()

    init(_ output: FileHandle) { self.output = output }

    /// The next line that contains these words; nil at the end.
    mutating func next(with words: String) -> String? { next(with: [words])[words] }

    /// The next line for each of these words, in any order; at the end, the lines found so far.
    mutating func next(with words: [String]) -> [String: String] {
      var found: [String: String] = [:]
      while true {
        while let end = bytes.firstIndex(of: 10) {
          let line = String(decoding: bytes[..<end], as: UTF8.self)
          bytes = Data(bytes[(end + 1)...])
          for word in words where found[word] == nil && line.contains(word) { found[word] = line }
          if found.count == words.count { return found }
        }
        let more = output.availableData
        if more.isEmpty { return found }
        bytes += more
      }
    }
  }

  /// The program, which is in the tests' directory.
  private func program(_ arguments: [String]) throws -> Process {
    let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    let process = Process()
    // A program that hangs is ended, with the processes that it has started; that ends the pipe.
    process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
    process.arguments =
      [
        "-k", "5", "120",
        tests.deletingLastPathComponent().appendingPathComponent("hot-restart").path,
      ]
      + arguments
    return process
  }
}
