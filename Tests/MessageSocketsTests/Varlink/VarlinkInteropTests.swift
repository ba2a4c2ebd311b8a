// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import SystemPackage
import Testing
import Varlink

private typealias Number = Fixture.Number

extension KernelTests {
  /// Python's asyncvarlink, and systemd's sd-varlink with varlinkctl: calls and descriptors in both
  /// directions.
  @Suite(.timeLimit(.minutes(2))) struct VarlinkInterop {
    // MARK: Their services

    @Test(
      .enabled(
        if: ForeignPeer.asyncvarlink.isAvailable,
        "asyncvarlink is missing: make interop PEERS=varlink"))
    func weCallAsyncvarlink() async throws { try await callServiceOf(.asyncvarlink) }

    @Test(
      .enabled(
        if: ForeignPeer.sdVarlink257.isAvailable,
        "systemd 257 is missing: make interop PEERS=varlink"))
    func weCallSdVarlink257() async throws { try await callServiceOf(.sdVarlink257) }

    @Test(
      .enabled(
        if: ForeignPeer.sdVarlink.isAvailable,
        "a newer systemd is missing: make interop PEERS=varlink"))
    func weCallSdVarlink() async throws { try await callServiceOf(.sdVarlink) }

    private func callServiceOf(_ peer: ForeignPeer) async throws {
      try await withDescriptorOracle { loop in
        let (ours, theirs) = try UnixStream.makePair()
        let socket = try await theirs.release()
        let number = socket.withUnsafeFileDescriptor { $0.rawValue }
        var remote = Optional(socket)
        try await peer.run(["serve", "3"], descriptors: [3: number]) { _ in
          remote = nil
          let client = VarlinkClient(ours)
          try await self.call(client)
          await client.close()
        }
        withExtendedLifetime(remote) {}
      }
    }

    private func call(_ client: VarlinkClient) async throws {
      let sum = try await client.call(
        "com.example.Peer.Add", Number(number: 1), returning: Number.self)
      #expect(sum.parameters.number == 2)
      let opened = try await client.call(
        "com.example.Peer.Open", Number(number: 7), returning: Fixture.File.self)
      let file = try opened.takeDescriptor(at: opened.parameters.file)
      let found = try file.number
      #expect(found == 7)
      var next = 0
      for try await reply in try await client.callMore(
        "com.example.Peer.Count", Number(number: 20), returning: Number.self)
      {
        #expect(reply.parameters.number == next)
        next += 1
      }
      #expect(next == 21)
      await #expect {
        try await client.call(
          "com.example.Peer.Fail", Number(number: 9), returning: VarlinkEmpty.self)
      } throws: { error in
        let error = error as? VarlinkError
        return error?.name == "com.example.Peer.TooLarge"
          && (try? error?.parameters(as: Number.self).number) == 9
      }
      // A, then B with a descriptor, pipelined as far as the client allows: libsystemd 257 would
      // give the descriptor to A.
      try await withThrowingTaskGroup(of: Int.self) { group in
        for number in 0..<20 {
          group.addTask {
            guard number % 2 == 0 else {
              return try await client.call(
                "com.example.Peer.Add", Number(number: number - 1), returning: Number.self
              ).parameters.number
            }
            var files = OwnedFds()
            files.append(try OwnedFd.numbered(number))
            return try await client.call(
              "com.example.Peer.Read", Fixture.File(file: 0), returning: Number.self,
              descriptors: files
            )
            .parameters.number
          }
        }
        var numbers: [Int] = []
        for try await number in group { numbers.append(number) }
        #expect(numbers.sorted() == Array(0..<20))
      }
    }

    // MARK: Our service

    @Test(
      .enabled(
        if: ForeignPeer.asyncvarlink.isAvailable,
        "asyncvarlink is missing: make interop PEERS=varlink"))
    func asyncvarlinkCallsUs() async throws { try await serve(clientOf: .asyncvarlink) }

    @Test(
      .enabled(
        if: ForeignPeer.sdVarlink257.isAvailable,
        "systemd 257 is missing: make interop PEERS=varlink"))
    func sdVarlink257CallsUs() async throws { try await serve(clientOf: .sdVarlink257) }

    @Test(
      .enabled(
        if: ForeignPeer.sdVarlink.isAvailable,
        "a newer systemd is missing: make interop PEERS=varlink"))
    func sdVarlinkCallsUs() async throws { try await serve(clientOf: .sdVarlink) }

    private func serve(clientOf peer: ForeignPeer) async throws {
      try await serve { path in
        let address = peer == .asyncvarlink ? path : "unix:" + path
        try await peer.run(["client", address]) { _ in }
      }
    }

    @Test(
      .enabled(
        if: ForeignPeer.sdVarlink257.isAvailable,
        "systemd 257 is missing: make interop PEERS=varlink"))
    func varlinkctl257CallsUs() async throws { try await serveVarlinkctl(of: .sdVarlink257) }

    @Test(
      .enabled(
        if: ForeignPeer.sdVarlink.isAvailable,
        "a newer systemd is missing: make interop PEERS=varlink"))
    func varlinkctlCallsUs() async throws { try await serveVarlinkctl(of: .sdVarlink) }

    private func serveVarlinkctl(of peer: ForeignPeer) async throws {
      try await serve { path in
        #expect(try await peer.varlinkctl(["info", path]).contains("https://example.com"))
        #expect(
          try await peer.varlinkctl(["introspect", path, "com.example.Test"]).contains("method Add")
        )
        #expect(
          try await peer.varlinkctl(["-j", "call", path, "com.example.Test.Add", #"{"number":1}"#])
            == "{\"number\":2}\n")
        let counted = try await peer.varlinkctl([
          "-j", "--more", "call", path, "com.example.Test.Count", #"{"number":3}"#,
        ])
        #expect(counted.filter { $0.isNumber } == "0123")
        let failed = try await peer.varlinkctl(
          [
            "-j", "--graceful=com.example.Test.TooLarge", "call", path, "com.example.Test.Fail",
            #"{"number":9}"#,
          ])
        #expect(failed.contains(#"{"number":9}"#))
        // `--push-fd`, and passing a reply's descriptors to a command, require version 258 or
        // newer.
        guard peer == .sdVarlink else { return }
        let file = try OwnedFd.numbered(5)
        let number = file.withUnsafeFileDescriptor { $0.rawValue }
        let read = try await peer.varlinkctl(
          ["-j", "--push-fd=7", "call", path, "com.example.Test.Read", #"{"file":0}"#],
          descriptors: [7: number])
        #expect(read == "{\"number\":5}\n")
      }
    }

    /// Runs `body` while the test service listens at a path.
    private func serve(_ body: (String) async throws -> Void) async throws {
      try await withDescriptorOracle { loop in
        let path = "/tmp/varlink-test-\(getpid())"
        let listener = try UnixListener<UnixStream>.bind(to: UnixAddress(path: FilePath(path)))
        let serving = Task(executorPreference: loop.taskExecutor) {
          try await Fixture.service().serve(listener)
        }
        do { try await body(path) } catch {
          serving.cancel()
          _ = await serving.failure
          throw error
        }
        serving.cancel()
        try await serving.value
      }
    }
  }
}

extension ForeignPeer {
  /// Runs varlinkctl, and returns its output.
  fileprivate func varlinkctl(_ words: [String], descriptors: [Int32: Int32] = [:]) async throws
    -> String
  {
    let output = try OwnedFd.memoryFile()
    let number = output.withUnsafeFileDescriptor { $0.rawValue }
    let environment = ["SYSTEMD_LOG_LEVEL": "err"] as [String: String?]
    let process = try ChildProcess(
      self.words(program: "usr/bin/varlinkctl") + words, environment: environment,
      descriptors: [1: number, 2: number].merging(descriptors) { _, given in given })
    try await process.expectGoodEnd(after: {}, printingTo: output)
    return try output.text
  }
}
