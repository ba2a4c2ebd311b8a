// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// libsystemd's `sd_pid_notify_with_fds` and `sd_notify_barrier`: we are the service manager.
  @Suite(
    .enabled(
      if: ForeignPeer.libsystemd.isAvailable,
      "libsystemd.so.0 246 or newer, or python3, is not installed"), .timeLimit(.minutes(1)))
  struct NotifyInterop {
    @Test(arguments: [(1, 1), (3, 4), (1, 253)]) func receivesStoredFiles(
      messages: Int, descriptors: Int
    ) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let manager = try UnixDatagram(boundTo: UnixAddress(path: path))
          // Before the first message, as a manager does.
          try await manager.setOption(.passCredentials, to: true)
          let environment = ["NOTIFY_SOCKET": path.string]
          try await ForeignPeer.libsystemd.run(
            ["\(messages)", "\(descriptors)"], environment: environment
          ) { service in
            for number in 0..<messages {
              let message = try #require(try await manager.receiveMessage())
              #expect(
                String(decoding: message.payload, as: UTF8.self)
                  == "FDSTORE=1\nFDNAME=message-\(number)")
              #expect(
                message.credentials
                  == Credentials(processID: service.id, userID: getuid(), groupID: getgid()))
              #expect(message.outcome == .complete)
              #expect(message.descriptorCount == descriptors)
              for file in 0..<descriptors {
                #expect(try message.takeDescriptor()?.text == "message \(number) file \(file)")
              }
            }
            try await letTheServiceEnd(manager, service)
          }
          await manager.close()
        }
      }
    }

    /// A listener survives its service: the first one stores it with us, and the next finds it by
    /// `sd_listen_fds_with_names`, where we have put it.
    @Test func aStoredListenerServesAgain() async throws {
      try await withTemporaryPath { path in
        try await withTemporaryPath { requests in
          try await withDescriptorOracle { _ in
            let manager = try UnixDatagram(boundTo: UnixAddress(path: path))
            // LISTEN_PID is the number of the service itself, which only that knows before it runs.
            let words = [
              "sh", "-c",
              "LISTEN_PID=$$ exec python3 \(ForeignPeer.script("stored_listener.py")) \(requests)",
            ]
            var stored: OwnedFd?
            try await ChildProcess.run(words, environment: ["NOTIFY_SOCKET": path.string]) { _ in
              let message = try #require(try await manager.receiveMessage())
              #expect(
                String(decoding: message.payload, as: UTF8.self) == "FDSTORE=1\nFDNAME=requests")
              stored = message.takeDescriptor()
            }
            await manager.close()

            let number = stored?.withUnsafeFileDescriptor { $0.rawValue }
            let listener = try #require(number, "no listener was stored")
            try await ChildProcess.run(
              words, environment: ["LISTEN_FDS": "1", "LISTEN_FDNAMES": "requests"],
              descriptors: [3: listener]
            ) {
              _ in
              let client = try await UnixStream.connect(to: UnixAddress(path: requests))
              try await client.sendMessage([1, 2, 3], descriptor: try .numbered(77))
              let answer = try #require(try await client.receiveMessage())
              #expect(answer.payload == [1, 2, 3])
              #expect(try answer.takeDescriptor()?.number == 77)
              await client.close()
            }
            stored = nil
          }
        }
      }
    }

    /// The service waits until nobody has the descriptor of the barrier any more: dropping the
    /// message is what lets it end.
    private func letTheServiceEnd(_ manager: UnixDatagram, _ service: ChildProcess) async throws {
      let barrier = try #require(try await manager.receiveMessage())
      #expect(String(decoding: barrier.payload, as: UTF8.self) == "BARRIER=1")
      #expect(barrier.descriptorCount == 1)
      withExtendedLifetime(barrier) { #expect(service.isRunning) }
    }
  }

  /// `systemd-socket-activate` listens, and at the first connection becomes our program, with the
  /// listener as descriptor 3.
  @Suite(
    .enabled(
      if: ForeignPeer.socketActivation.isAvailable, "systemd-socket-activate is not installed"),
    .timeLimit(.minutes(1)))
  struct SocketActivationInterop {
    @Test func streamListener() async throws {
      try await talkOverAPath(UnixStream.self, "stream", [])
    }

    @Test func seqpacketListener() async throws {
      try await talkOverAPath(UnixSeqpacket.self, "seqpacket", ["--seqpacket"])
    }

    private func talkOverAPath<Socket: UnixConnection>(
      _: Socket.Type, _ kind: String, _ options: [String]
    ) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let activation = try Activation(options + ["--listen=\(path)"], kind)
          let client = try await Socket.connect(to: UnixAddress(path: path))
          let file = try OwnedFd.numbered(77)
          try await client.sendMessage([1, 2, 3], descriptor: file)
          let answer = try #require(try await client.receiveMessage())
          #expect(answer.payload == [1, 2, 3])
          let (sent, received) = (file.identity, answer.takeDescriptor()?.identity)
          #expect(sent == received)
          // A connection that the program did not accept: its listener is gone with it.
          #expect(try await client.receiveMessage() == nil)
          await client.close()
          try activation.expectGoodEnd(listener: "\(path)")
        }
      }
    }

    @Test func tcpListener() async throws {
      try await withDescriptorOracle { _ in
        // A port that is free now; the activator cannot choose one.
        let reserved = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        let address = reserved.address
        await reserved.close()
        let activation = try Activation(["--listen=\(address)"], "tcp")
        let client = try await TCPStream.connect(to: address)
        try await client.sendMessage([1, 2, 3])
        #expect(try await client.receiveMessage()?.payload == [1, 2, 3])
        #expect(try await client.receiveMessage() == nil)
        await client.close()
        try activation.expectGoodEnd(listener: "\(address)")
      }
    }
  }

  /// The activator, and then our program in its place.
  private struct Activation {
    private let process: ChildProcess
    private let output: OutputPipe

    /// Waits until it listens: it says so.
    init(_ options: [String], _ kind: String) throws {
      let driver = TestLoop.isOnRing ? "io_uring" : "readiness"
      let words =
        ["systemd-socket-activate"] + options + [
          ProbeTool.path, "choice=\(driver)", "activated=\(kind)",
        ]
      output = try OutputPipe()
      process = try output.feed { try ChildProcess(words, descriptors: [1: $0, 2: $0]) }
      let line = try output.readLine()
      try #require(line.hasPrefix("Listening on "), "systemd-socket-activate says: \(line)")
    }

    func expectGoodEnd(listener: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
      let printed = try output.readToEnd()
      #expect(printed.contains("listener: \(listener)"), sourceLocation: sourceLocation)
      #expect(
        process.exitStatus() == 0, "the activated program printed: \(printed)",
        sourceLocation: sourceLocation)
    }
  }
}
