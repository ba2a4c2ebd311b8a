// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import ServiceManagement
import SystemPackage
import Testing

extension KernelTests {
  /// libsystemd's `sd_pid_notify_with_fds` and `sd_notify_barrier`, and the program systemd-notify.
  /// The test is the service manager.
  @Suite(.timeLimit(.minutes(1))) struct NotifyInterop {
    @Test(
      .enabled(
        if: ForeignPeer.libsystemd.isAvailable,
        "libsystemd.so.0 246 or newer, or python3, is not installed"),
      arguments: [(1, 1), (3, 4), (1, 253)]) func receivesStoredFiles(
        messages: Int, descriptors: Int
      ) async throws
    {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let manager = try await NotifySocket.bind(to: UnixAddress(path: path))
          let environment = ["NOTIFY_SOCKET": manager.environmentValue]
          try await ForeignPeer.libsystemd.run(
            ["\(messages)", "\(descriptors)"], environment: environment
          ) { service in
            for number in 0..<messages {
              let notification = try await manager.receive()
              #expect(
                notification.sender
                  == Credentials(processID: service.id, userID: getuid(), groupID: getgid()))
              #expect(notification.descriptorCount == descriptors)
              var stored = notification.takeDescriptorsToStore()
              #expect(stored.names == Array(repeating: "message-\(number)", count: descriptors))
              for file in 0..<descriptors {
                #expect(try stored.takeFirst()?.text == "message \(number) file \(file)")
              }
            }
            // The service waits until no process has the barrier's descriptor: dropping the message
            // lets the service end.
            let barrier = try await manager.receive()
            #expect(barrier.isBarrier)
            withExtendedLifetime(barrier) { #expect(service.isRunning) }
          }
          await manager.close()
        }
      }
    }

    @Test(
      .enabled(if: ForeignPeer.systemdNotify.isAvailable, "systemd-notify is not installed"),
      arguments: [false, true])
    func systemdNotify(abstract: Bool) async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let address =
            abstract
            ? try UnixAddress(abstract: "service-tests-\(getpid())") : try UnixAddress(path: path)
          let manager = try await NotifySocket.bind(to: address)
          try await ForeignPeer.systemdNotify.run(
            ["--ready", "--status=two words", "X_OWN=a=b"],
            environment: ["NOTIFY_SOCKET": manager.environmentValue]
          ) { _ in
            let notification = try await manager.receive()
            #expect(notification.isReady)
            #expect(notification.status == "two words")
            #expect(notification["X_OWN"] == "a=b")
            #expect(notification.sender.userID == getuid())
            #expect(try await manager.receive().isBarrier)
          }
          await manager.close()
        }
      }
    }

    /// A listener outlives its service: the first service stores it with the test, which passes it
    /// to the next one, which finds it with `sd_listen_fds_with_names`.
    @Test(
      .enabled(
        if: ForeignPeer.libsystemd.isAvailable,
        "libsystemd.so.0 246 or newer, or python3, is not installed"))
    func aStoredListenerServesAgain() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let requests = path.removingLastComponent().appending("local")
          let manager = try await NotifySocket.bind(to: UnixAddress(path: path))
          var command = ServiceCommand(
            "/usr/bin/env",
            arguments: ["python3", ForeignPeer.script("stored_listener.py"), "\(requests)"])
          command.environment["NOTIFY_SOCKET"] = manager.environmentValue
          let first = try await RunningTool(&command)
          do {
            let notification = try await manager.receive()
            #expect(notification["FDSTORE"] == "1")
            command.descriptors.append(contentsOf: notification.takeDescriptorsToStore())
          }
          #expect(command.descriptors.names == ["requests"])
          #expect(try await first.linesToEnd() == [])
          #expect(try await first.process.end() == .exited(0))

          let second = try await RunningTool(&command)
          let client = try await UnixStream.connect(to: UnixAddress(path: requests))
          try await client.sendMessage([1, 2, 3], descriptor: try .numbered(77))
          let answer = try #require(try await client.receiveMessage())
          #expect(answer.payload == [1, 2, 3])
          #expect(try answer.takeDescriptor()?.number == 77)
          await client.close()
          #expect(try await second.linesToEnd() == [])
          #expect(try await second.process.end() == .exited(0))
          await manager.close()
        }
      }
    }
  }

  /// `systemd-socket-activate` listens, and at the first connection executes our program, which
  /// takes over the listener.
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
          let activation = try await start(
            options + ["--fdname=requests", "--listen=\(path)"], "requests=\(kind)")
          let client = try await Socket.connect(to: UnixAddress(path: path))
          try await client.sendMessage([1, 2, 3], descriptor: try .numbered(77))
          let answer = try #require(try await client.receiveMessage())
          #expect(answer.payload == [1, 2, 3])
          #expect(try answer.takeDescriptor()?.number == 77)
          #expect(try await client.receiveMessage() == nil)
          await client.close()
          try await expectGoodEnd(activation, listener: "\(path)")
        }
      }
    }

    @Test func tcpListener() async throws {
      try await withDescriptorOracle { _ in
        // A port that is free now, because the activator cannot choose one.
        let reserved = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        let address = reserved.address
        await reserved.close()
        // Without a name.
        let activation = try await start(["--listen=\(address)"], "unknown=tcp")
        let client = try await TCPStream.connect(to: address)
        try await client.sendMessage([1, 2, 3])
        #expect(try await client.receiveMessage()?.payload == [1, 2, 3])
        #expect(try await client.receiveMessage() == nil)
        await client.close()
        try await expectGoodEnd(activation, listener: "\(address)")
      }
    }

    /// Starts the activator, which our program then replaces.
    private func start(_ options: [String], _ request: String) async throws -> RunningTool {
      let words = ["systemd-socket-activate"] + options + [ServiceTool.path, "echo", request]
      var command = ServiceCommand("/usr/bin/env", arguments: words)
      // The activator passes no other variables on.
      if let driver = command.environment["MESSAGE_SOCKETS_DRIVER"] {
        command.arguments.insert("--setenv=MESSAGE_SOCKETS_DRIVER=\(driver)", at: 1)
      }
      let running = try await RunningTool(&command)
      try await running.lines(until: "Listening on ")
      return running
    }

    private func expectGoodEnd(
      _ activation: RunningTool, listener: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let lines = try await activation.linesToEnd()
      #expect(lines.contains("listener: \(listener)"), "\(lines)", sourceLocation: sourceLocation)
      #expect(
        try await activation.process.end() == .exited(0), "\(lines)", sourceLocation: sourceLocation
      )
    }
  }

  /// A Python process that takes over from one of our processes, serves, and hands over to another
  /// one: Docs/Wire.md is a sufficient specification.
  @Suite(
    .enabled(if: ForeignPeer.python.isAvailable, "python3 is not installed"),
    .timeLimit(.minutes(1)))
  struct HandOverInterop {
    @Test func aGenerationInPython() async throws {
      try await withGenerations { generations, path in
        let first = try await generations.start()
        try await first.lines(until: "pid")
        let load = try generations.load(clients: 2)
        try await load.answer(10)

        var command = ServiceCommand(
          "/usr/bin/env",
          arguments: [
            "python3", ForeignPeer.script("hand_over_peer.py"), "relay", "\(generations.control)",
          ])
        let foreign = try await RunningTool(&command)
        #expect(
          try await foreign.lines(until: "serving").contains(
            "taken over: 303 descriptors, 100000 bytes"))
        try await first.expectReplaced()
        try await foreign.lines(until: "predecessor drained")
        try await load.answer(10)

        let last = try await generations.start()
        #expect(
          try await last.lines(until: "event: predecessorDrained").contains(
            "inherited 300 files, 100000 bytes, intact: true"))
        #expect(try await foreign.linesToEnd().last == "handed over")
        #expect(try await foreign.process.end() == .exited(0))
        try await load.answer(10)
        #expect(try await generations.askLocally() == "\(last.process.processID) here\n")
        let counts = await load.stop()
        #expect(counts.refused == 0 && counts.lost == 0 && counts.wrong == 0, "\(counts)")
        #expect(
          counts.servers == [
            first.process.processID, foreign.process.processID, last.process.processID,
          ])
        try await last.terminate()
        // The files have passed through both processes.
        #expect(access("\(path.removingLastComponent())/local", F_OK) != 0)
      }
    }
  }
}
