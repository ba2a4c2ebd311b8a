// SPDX-License-Identifier: Apache-2.0
import MessageFraming
import MessageSockets
import Testing
import Varlink

/// The code examples in the documentation of requests and of Varlink.
@Suite struct VarlinkSnippets {
  @Test func requests() async throws {
    // begin RequestsAndReplies
    let (ours, theirs) = try UnixStream.makePair()
    let broker = RequestChannel(theirs) { request in
      let path = FilePath(String(decoding: request.payload, as: UTF8.self))
      var files = OwnedFds()
      files.append(
        OwnedFd(adopting: try FileDescriptor.open(path, .readOnly, options: .closeOnExec)))
      return Response(Array("opened".utf8), descriptors: files)
    }

    let client = RequestChannel(ours)
    let reply = try await client.request(Array("/dev/null".utf8), deadline: .now + .seconds(2))
    let file = try reply.takeDescriptor(at: 0)  // Closes when it goes out of scope.
    // end
    _ = consume file
    #expect(reply.payload == Array("opened".utf8)[...])
    await client.close()
    await broker.close()
  }

  @Sendable private func answer(_ request: Frame) async throws -> Response {
    Response(Array(request.payload))
  }

  @Test func serving() async throws {
    let address = try UnixAddress(abstract: "snippets-requests")
    let listener = try UnixListener<UnixStream>.bind(to: address)
    let serving = Task {
      // begin RequestsAndReplies
      try await listener.serve { connection in
        try await RequestChannel(connection, handler: answer).untilEnded()
      }
      // end
    }
    let client = RequestChannel(try await UnixStream.connect(to: address))
    #expect(try await client.request([1]).payload == [1])
    await client.close()
    serving.cancel()
    try await serving.value
  }

  @Test func frames() async throws {
    let (stream, peer) = try UnixStream.makePair()
    try await peer.sendMessage([0, 0, 0, 0, 0, 0, 0, 0])
    try await peer.shutdown(.sending)
    let files = OwnedFds()
    // begin RequestsAndReplies
    let channel = FramedChannel(
      stream, format: .lengthPrefixed(maximumSize: 1 << 16, maximumDescriptors: 4))
    try await channel.send(Array("log".utf8), descriptors: files.span)
    for try await frame in channel.frames {
      let log = frame.takeDescriptor()
      print(log == nil ? "no descriptor" : "a descriptor")
    }
    // end
    await channel.close()
    await peer.close()
  }

  @Test func varlink() async throws {
    let address = try UnixAddress(abstract: "snippets-varlink")
    // begin CallingAndServing
    struct Path: Codable, Sendable { var path: String }
    struct File: Codable, Sendable { var file: Int }

    var broker = VarlinkInterface(
      "com.example.Broker",
      description: """
        interface com.example.Broker
        method Open(path: string) -> (file: int)
        error NotFound(path: string)
        """)
    broker.method("Open") { (arguments: Path, call) in
      guard let file = try? FileDescriptor.open(arguments.path, .readOnly, options: .closeOnExec)
      else {
        throw try VarlinkError("com.example.Broker.NotFound", parameters: arguments)
      }
      return File(file: try call.push(OwnedFd(adopting: file)))
    }
    var service = VarlinkService(
      vendor: "Example", product: "Broker", version: "1", url: "https://example.com")
    service.add(broker)
    // end
    try await withThrowingTaskGroup(of: Void.self) { [service] group in
      group.addTask {
        // begin CallingAndServing
        let listener = try UnixListener<UnixStream>.bind(to: address)
        try await service.serve(listener)
        // end
      }
      // The task above may not have bound it yet.
      while (try? await UnixStream.connect(to: address)) == nil { await Task.yield() }
      // begin CallingAndServing
      let client = try await VarlinkClient.connect(to: VarlinkAddress(address))
      let reply = try await client.call(
        "com.example.Broker.Open", Path(path: "/dev/null"), returning: File.self,
        deadline: .now + .seconds(2))
      let file = try reply.takeDescriptor(at: reply.parameters.file)
      await client.close()
      // end
      _ = consume file
      group.cancelAll()
      try await group.waitForAll()
    }
  }
}
