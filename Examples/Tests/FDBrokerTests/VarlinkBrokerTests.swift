// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing
import Varlink

@testable import fd_broker

@Suite(.timeLimit(.minutes(1)))
struct VarlinkBrokerTests {
  private struct Path: Encodable { var path: String }
  private struct File: Decodable, Sendable { var file: Int }

  @Test func aFileIsFetchedAndOthersAreRefused() async throws {
    let sample = try SampleDirectory()
    defer { sample.remove() }
    let listener = try UnixListener<UnixStream>.bind(to: UnixAddress(path: sample.socketPath))
    let broker = VarlinkBroker(directory: try ServedDirectory(sample.root))
    let running = Task { try await broker.run(on: listener) }
    let client = try await VarlinkClient.connect(to: VarlinkAddress("unix:\(sample.socketPath)"))

    let reply = try await client.call(
      "com.example.Broker.Open", Path(path: "file"), returning: File.self)
    let file = try reply.takeDescriptor(at: reply.parameters.file)
    let served = try ServedDirectory(sample.root).open("file")
    let isSame = try file.hasSameBytes(as: served)
    #expect(isSame)
    for path in ["missing", "../file", "/etc/passwd", ""] {
      do {
        _ = try await client.call("com.example.Broker.Open", Path(path: path), returning: File.self)
        Issue.record("\(path) was opened")
      } catch let error as VarlinkError {
        #expect(error.name == "com.example.Broker.Refused")
      }
    }
    await client.close()
    running.cancel()
    try await running.value
  }
}
