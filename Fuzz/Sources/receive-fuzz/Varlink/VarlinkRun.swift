// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import MessageSockets
import SystemPackage
import Varlink

@testable import SocketEngine

/// One input: a Varlink service or client with a hostile peer.
enum VarlinkRun {
  static func run(_ input: Input) {
    let loop = input.choose(Loops.all)
    let before = SimulatedFiles.open()
    Turnstile.wait(on: loop) { await converse(input, on: loop) }
    checkDescriptors(are: before)
  }

  private static func converse(_ input: Input, on loop: IOLoop) async {
    do {
      let (ours, theirs) = try UnixStream.makePair(on: loop)
      if input.oneIn(2) {
        try await asService(input, ours, theirs)
      } else {
        try await asClient(input, ours, theirs)
      }
      await ours.close()
      await theirs.close()
    } catch {
      fatalError("\(error)")
    }
    while await loop.operationsInKernel > 0 { await Task.yield() }
  }

  private static func asService(_ input: Input, _ ours: UnixStream, _ theirs: UnixStream)
    async throws
  {
    let handling = Task(executorPreference: ours.loop.taskExecutor) {
      // The peer must see the end, whatever the error.
      try? await service.handle(theirs)
      await theirs.close()
    }
    let reading = Task(executorPreference: ours.loop.taskExecutor) {
      while let message = try await ours.receiveMessage() { _ = message }
    }
    await send(input, to: ours)
    try? await ours.shutdown(.sending)
    await handling.value
    _ = await reading.result
  }

  private static func asClient(_ input: Input, _ ours: UnixStream, _ theirs: UnixStream)
    async throws
  {
    let client = VarlinkClient(theirs)
    let calls = (0..<3).map { number in
      Task(executorPreference: ours.loop.taskExecutor) {
        if number == 2 {
          for try await reply in try await client.callMore("a.b.C", json: "{}") {
            _ = try? reply.takeDescriptor(at: 0)
          }
        } else {
          let reply = try await client.call("a.b.C", json: "{}")
          _ = try? reply.takeDescriptor(at: 0)
        }
      }
    }
    await send(input, to: ours)
    try? await ours.shutdown(.sending)
    for call in calls { _ = await call.result }
    await client.close()
  }

  /// Sends pieces of messages and arbitrary bytes, with descriptors in front of some.
  private static func send(_ input: Input, to socket: UnixStream) async {
    while !input.isEmpty {
      var bytes: [UInt8] = []
      for _ in 0...input.number(0...3) {
        bytes += input.oneIn(3) ? input.take(input.number(1...30)) : Array(input.choose(words).utf8)
      }
      var files = OwnedFds()
      if input.oneIn(4) {
        for _ in 0..<input.number(1...5) {
          guard let file = try? FileDescriptor.open("/dev/null", .readOnly, options: .closeOnExec)
          else { break }
          files.append(OwnedFd(adopting: file))
        }
      }
      do { try await socket.sendMessage(bytes, descriptors: files.span) } catch { return }
    }
  }

  private static let words = [
    "\0", "{", "}", "{}\0", "[", "]", ",", ":", "\"", "null", "true", "false", "1", "-1e9",
    "\\u0000", "\"method\":", "\"parameters\":",
    "\"more\":true",
    "\"oneway\":true", "\"upgrade\":true", "\"continues\":true", "\"error\":\"a.b.E\"",
    "\"a.b.Open\"",
    "{\"method\":\"a.b.Open\",\"parameters\":{\"file\":0}}\0",
    "{\"method\":\"a.b.Open\",\"more\":true}\0", "{\"method\":\"org.varlink.service.GetInfo\"}\0",
    "{\"parameters\":{}}\0",
    "{\"parameters\":{},\"continues\":true}\0", "{\"error\":\"a.b.E\",\"parameters\":{\"x\":1}}\0",
    String(repeating: "[", count: 200),
  ]

  private struct File: Codable { var file: Int }

  private static let service: VarlinkService = {
    var interface = VarlinkInterface(
      "a.b", description: "interface a.b\nmethod Open(file: int) -> (file: int)")
    interface.method("Open") { (file: File, call) in
      if call.wantsMore { try await call.reply(file) }
      return File(file: try call.push(try call.takeDescriptor(at: file.file)))
    }
    var service = VarlinkService(
      vendor: "v", product: "p", version: "1", url: "u",
      limits: VarlinkLimits(messageSize: 2000, maximumDescriptorsPerMessage: 3))
    service.add(interface)
    return service
  }()
}
