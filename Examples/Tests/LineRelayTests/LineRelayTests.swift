// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import Testing

@Suite(.timeLimit(.minutes(1)))
struct LineRelayTests {
  @Test func linesOfBothSocketsArePrintedAndSIGTERMEndsItWell() async throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
      "line-relay-\(UUID().uuidString)"
    ).path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let relay = try RelayProcess(directory)
    defer { relay.kill() }
    let words = try #require(relay.readLine()).split(separator: " ")
    let remote = try #require(words.last.flatMap { InternetAddress(String($0)) })
    let local = try UnixAddress(path: FilePath("\(directory)/lines.sock"))

    let here = try UnixDatagram.bind(to: .autobind)
    let there = try UDPSocket.bind(to: InternetAddress(.loopback, port: 0))
    var sent: Set<String> = []
    for number in 0..<20 {
      try await here.sendMessage(Array("local \(number)".utf8), to: local)
      try await there.sendMessage(Array("remote \(number)".utf8), to: remote)
      sent.formUnion(["local \(number)", "remote \(number)"])
    }
    var printed: Set<String> = []
    while printed.count < sent.count, let line = relay.readLine() { printed.insert(line) }
    #expect(printed == sent)

    // A client that stays connected without further requests does not delay the end.
    let client = try await UnixSeqpacket.connect(
      to: UnixAddress(path: FilePath("\(directory)/status.sock")))
    try await client.sendMessage([1])
    #expect(
      try await client.receiveMessage().map { String(decoding: $0.payload, as: UTF8.self) } == "40")

    relay.terminate()
    #expect(relay.exitStatus() == 0)
    #expect(try await client.receiveMessage() == nil)
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
    await client.close()
    await here.close()
    await there.close()
  }
}
