// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import ServiceManagement
import SystemPackage
import Testing

@testable import privilege_separation

@Suite(.timeLimit(.minutes(2))) struct PrivilegeSeparationTests {
  /// Runs the demonstration; returns its output.
  private func demo(_ rights: ServiceRights? = nil) async throws -> [String] {
    let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("privilege-separation").path
    // By a descriptor, since another user may not be able to find it.
    var command = ServiceCommand("/proc/self/fd/3", arguments: ["demo", "--files", "5"])
    try command.descriptors.append(
      OwnedFd(adopting: .open(FilePath(path), .readOnly, options: .closeOnExec)), named: "program")
    let (ours, theirs) = try UnixStream.makePair()
    command.output = try await theirs.release()
    command.rights = rights
    // Another user may not be allowed to write to the directory that we have.
    if rights != nil { command.environment["TMPDIR"] = "/tmp" }
    let process = try command.start()
    _ = consume command
    var output: [UInt8] = []
    for try await chunk in ours.messages { output += chunk.payload }
    await ours.close()
    let text = String(decoding: output, as: UTF8.self)
    #expect(try await process.end() == .exited(0), "\(text)")
    return text.split(separator: "\n").map(String.init)
  }

  private static let ok =
    "ok: 5 files counted, 1 cancelled, 1 worker killed, 0 descriptors leaked, no process left"

  @Test func theWorkerCounts() async throws {
    let lines = try await demo()
    #expect(lines.last == Self.ok)
    #expect(lines.contains { $0.contains("no new privileges, 4 descriptors") }, "\(lines)")
    if geteuid() == 0 { #expect(lines.first?.contains("user 65534") == true) }
  }

  /// Without root's rights the worker keeps the user, and the program says so.
  @Test(.enabled(if: geteuid() == 0, "changing the user needs root"))
  func withoutRoot() async throws {
    let lines = try await demo(.user(65533, group: 65533))
    #expect(lines.first?.contains("it keeps user 65533") == true, "\(lines)")
    #expect(lines.dropFirst().first?.contains("no new privileges, 4 descriptors") == true)
    #expect(lines.last == Self.ok)
  }

  @Test(arguments: [
    "", "ready", "ready 1 2 3 4", "ready 4294967296 1 4 0", "begun", "begun -1", "begun 1 2",
    "begun  1", "counted 1 2 3", "counted 1 2 3 18446744073709551616",
    "counted 1 2 3 4" + String(repeating: " ", count: 200), "\u{0}",
  ])
  func answersThatLie(text: String) {
    #expect(throws: WorkerFailure.malformedAnswer) { try Answer(decoding: Array(text.utf8)) }
  }

  @Test func answers() throws {
    var count = FileCount()
    count.add(Array("a\nb\n".utf8)[...])
    #expect(count.lines == 2 && count.bytes == 4)
    let facts = WorkerFacts(user: 7, hasNoNewPrivileges: true, descriptors: 4, opensTheFile: false)
    for answer in [Answer.ready(facts), .begun(.max), .counted(1, count)] {
      #expect(try Answer(decoding: answer.encoded) == answer)
    }
  }
}
