// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import ServiceManagement

/// The contents of the environment, without any descriptor.
@Suite struct PassedDescriptorsTests {
  private func read(_ environment: [String: String], identity: UInt64? = nil) throws(ServiceError)
    -> PassedDescriptors
  {
    try PassedDescriptors(environment, processID: 100, processIdentity: identity)
  }

  @Test func numbersBeginWithThree() throws {
    let passed = try read(["LISTEN_PID": "100", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:stored"])
    #expect(passed.numbered.map { "\($0.0) \($0.1)" } == ["3 web", "4 stored"])
    #expect(passed.absence == nil)
  }

  @Test func namesMayBeMissing() throws {
    #expect(try read(["LISTEN_PID": "100", "LISTEN_FDS": "2"]).names == ["unknown", "unknown"])
    #expect(
      try read(["LISTEN_PID": "100", "LISTEN_FDS": "2", "LISTEN_FDNAMES": ":"]).names == ["", ""])
  }

  @Test(arguments: [
    [:], ["LISTEN_FDS": "1"], ["LISTEN_PID": "100"], ["LISTEN_PID": "99", "LISTEN_FDS": "1"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "0"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""],
    ["LISTEN_PID": "100", "LISTEN_FDS": "1", "LISTEN_PIDFDID": "8"],
  ]) func nothingIsForUs(environment: [String: String]) throws {
    let passed = try read(environment, identity: 7)
    #expect(passed.names.isEmpty)
    #expect(passed.absence != nil)
  }

  @Test func theIdentityCountsWhereTheKernelKnowsIt() throws {
    let environment = ["LISTEN_PID": "100", "LISTEN_FDS": "1", "LISTEN_PIDFDID": "7"]
    #expect(try read(environment, identity: 7).names.count == 1)
    #expect(try read(environment, identity: nil).names.count == 1)
  }

  @Test(arguments: [
    ["LISTEN_PID": "x", "LISTEN_FDS": "1"], ["LISTEN_PID": "-1", "LISTEN_FDS": "1"],
    ["LISTEN_PID": "", "LISTEN_FDS": "1"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "-1"], ["LISTEN_PID": "100", "LISTEN_FDS": "2147483645"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "99999999999999999999"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "2147483644"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "one"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "one:two"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "0", "LISTEN_FDNAMES": "one"],
    ["LISTEN_PID": "100", "LISTEN_FDS": "1", "LISTEN_PIDFDID": "x"],
  ]) func whatNoManagerSetsIsAnError(environment: [String: String]) {
    #expect { try read(environment, identity: 7) } throws: {
      ($0 as? ServiceError)?.code == .malformedEnvironment
    }
  }
}

@Suite struct NamedDescriptorsTests {
  @Test(arguments: ["", "a:b", "a\nb", "ä", String(repeating: "x", count: 256)]) func badNames(
    name: String
  ) throws {
    var descriptors = NamedDescriptors()
    let file = try OwnedFd.numbered(1)
    #expect { try descriptors.append(try file.duplicate(), named: name) } throws: {
      ($0 as? ServiceError)?.code == .invalidName
    }
    #expect(descriptors.count == 0)
  }

  @Test func theFirstOfSeveralIsTaken() throws {
    var descriptors = NamedDescriptors()
    for number in 0..<3 {
      try descriptors.append(try .numbered(number), named: number == 1 ? "other" : "file")
    }
    #expect(descriptors.names == ["file", "other", "file"])
    #expect(try descriptors.takeDescriptor(named: "file").number == 0)
    #expect(try descriptors.takeDescriptor(named: "file").number == 2)
    #expect { _ = try descriptors.takeDescriptor(named: "file").number } throws: {
      "\($0)".contains("there are: other")
    }
    #expect(try descriptors.takeFirst()?.number == 1)
    #expect(descriptors.count == 0)
  }
}

extension KernelTests {
  /// A process to which the test passes descriptors.
  @Suite(.timeLimit(.minutes(1))) struct ActivationTests {
    @Test func aServiceTakesWhatItIsPassed() async throws {
      try await withTemporaryPath { path in
        try await withDescriptorOracle { _ in
          let web = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
          let control = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: path))
          let log = try UnixDatagram.bind(to: UnixAddress(abstract: "service-tests-\(getpid())"))
          var command = ServiceTool.command([
            "activation", "web=tcp", "control=seqpacket", "log=datagram", "file=any", "none=any",
          ])
          try await command.descriptors.append(duplicateOf: web, named: "web")
          try await command.descriptors.append(duplicateOf: control, named: "control")
          try await command.descriptors.append(duplicateOf: log, named: "log")
          try command.descriptors.append(try .numbered(1), named: "file")
          try command.descriptors.append(try .numbered(1), named: "forgotten")
          let lines = try await ServiceTool.run(&command)
          #expect(
            lines == [
              "names: web control log file forgotten", "close-on-exec: true",
              "web: tcp \(web.address)", "control: seqpacket \(path)",
              "log: datagram", "file: regular file",
              "none: unknownName: no descriptor is named none; there are: forgotten",
              "left: forgotten", "again: alreadyTaken",
              "LISTEN_FDS here: true, for children: false", "open: 0",
            ])
          // Our descriptors, and those of the command, are still open.
          #expect(command.descriptors.count == 5)
          for socket in [web, control, log] as [any LoopSocket] { await socket.close() }
        }
      }
    }

    /// Sockets that are not listeners: UDP sockets, and connections of a service that is started
    /// for each connection.
    @Test func otherSockets() async throws {
      try await withDescriptorOracle { _ in
        let loopback = InternetAddress(.loopback as IPv4Address, port: 0)
        let udp = try UDPSocket.bind(to: loopback)
        let listener = try TCPListener.bind(to: loopback)
        let client = try await TCPStream.connect(to: listener.address)
        let connection = try await listener.accept()
        let (left, right) = try UnixStream.makePair()
        var command = ServiceTool.command([
          "activation", "udp=udp", "tcp=tcp-connection", "unix=connection", "unix=connection",
          "tcp=tcp",
        ])
        try await command.descriptors.append(duplicateOf: udp, named: "udp")
        try await command.descriptors.append(duplicateOf: connection, named: "tcp")
        try await command.descriptors.append(duplicateOf: right, named: "unix")
        try await command.descriptors.append(duplicateOf: udp, named: "unix")
        try await command.descriptors.append(duplicateOf: connection, named: "tcp")
        let lines = try await ServiceTool.run(&command)
        #expect(
          lines.dropFirst(2).prefix(5) == [
            "udp: udp", "tcp: tcp-connection", "unix: connection",
            "unix: wrongKind: the descriptor named unix: it is a IPv4 datagram socket; expected a Unix stream socket",
            "tcp: wrongKind: the descriptor named tcp: it is a IPv4 stream socket; expected a IPv4 stream listener",
          ], "\(lines)")
        for socket in [udp, listener, client, connection, left, right] as [any LoopSocket] {
          await socket.close()
        }
      }
    }

    /// The error describes the descriptor.
    @Test func anotherKind() async throws {
      try await withDescriptorOracle { _ in
        let web = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        var command = ServiceTool.command([
          "activation", "web=stream", "file=tcp", "stream=datagram",
        ])
        try await command.descriptors.append(duplicateOf: web, named: "web")
        try command.descriptors.append(try .numbered(1), named: "file")
        try command.descriptors.append(
          try .socket(AF_UNIX, Int32(SOCK_STREAM.rawValue)), named: "stream")
        let lines = try await ServiceTool.run(&command)
        #expect(
          lines.dropFirst(2).prefix(3) == [
            "web: wrongKind: the descriptor named web: it is a IPv4 stream listener; expected a Unix stream listener",
            "file: wrongKind: the descriptor named file is a regular file [Socket operation on non-socket]",
            "stream: wrongKind: the descriptor named stream: it is a Unix stream socket; expected a Unix datagram socket",
          ])
        await web.close()
      }
    }

    /// A shell has set wrong variables: nothing is taken, closed or changed.
    @Test(arguments: [
      (
        "unset LISTEN_FDNAMES; LISTEN_PID=$$ LISTEN_FDS=2",
        "descriptorNotPassed: descriptor 4, unknown, is not open [Bad file descriptor]",
        "again: descriptorNotPassed"
      ),
      (
        "LISTEN_PID=$$ LISTEN_FDS=4294967297", "malformedEnvironment: LISTEN_FDS is \"4294967297\"",
        "again: malformedEnvironment"
      ),
      (
        "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b",
        "malformedEnvironment: LISTEN_FDNAMES has 2 names for the 1 descriptors of LISTEN_FDS",
        "again: malformedEnvironment"
      ),
    ]) func wrongVariables(variables: String, error: String, again: String) async throws {
      try await withDescriptorOracle { _ in
        var command = ServiceCommand(
          "/bin/sh", arguments: ["-c", "\(variables) exec \(ServiceTool.path) activation x=any"])
        try command.descriptors.append(try .numbered(1), named: "x")
        let lines = try await ServiceTool.run(&command)
        #expect(
          lines == [
            "error: \(error)", again, "LISTEN_FDS here: true, for children: false", "open: 1",
          ])
      }
    }

    @Test(arguments: [
      ("LISTEN_PID=1", "they were passed to process 1"), ("LISTEN_PIDFDID=1", "LISTEN_PIDFDID"),
    ])
    func theVariablesOfAnother(variable: String, reason: String) async throws {
      try await withDescriptorOracle { _ in
        let command = "LISTEN_PID=$$ exec env \(variable) \(ServiceTool.path) activation x=any"
        var shell = ServiceCommand("/bin/sh", arguments: ["-c", command])
        try shell.descriptors.append(try .numbered(1), named: "x")
        let lines = try await ServiceTool.run(&shell)
        // Kernels before 6.9 have no such identity.
        if variable.hasPrefix("LISTEN_PIDFDID"), lines.first == "names: x" { return }
        #expect(lines.prefix(2) == ["names: ", "close-on-exec: true"])
        let third = try #require(lines.dropFirst(2).first, "\(lines)")
        #expect(third.contains("unknownName") && third.contains(reason), "\(lines)")
      }
    }
  }

  @Suite(.timeLimit(.minutes(1))) struct ServiceCommandTests {
    @Test func aChildHasWhatItIsGivenAndNothingElse() async throws {
      try await withDescriptorOracle { _ in
        // Without close-on-exec, as a careless library opens files.
        let careless = dup(2)
        defer { close(careless) }
        var command = ServiceTool.command(["closed"])
        for number in 0..<5 { try command.descriptors.append(try .numbered(number), named: "file") }
        let (process, lines) = try await ServiceTool.runProcess(&command)
        #expect(
          lines == [
            "open: 0 1 2 3 4 5 6 7", "pid: \(process) \(process)", "signals blocked: 0",
            "SIGPIPE default: true",
          ])
      }
    }

    @Test func exitStatusAndSignals() async throws {
      try await withDescriptorOracle { _ in
        let shell = ServiceCommand("/bin/sh", arguments: ["-c", "exit 7"])
        let process = try shell.start()
        #expect(try await process.end() == .exited(7))
        #expect(try await process.end() == .exited(7))

        let sleeper = try ServiceCommand("/bin/sleep", arguments: ["1000"]).start()
        defer { try? sleeper.signal(SIGKILL) }
        // Cancelling the wait does not affect the process.
        let waiting = Task { try await sleeper.end() }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        try sleeper.signal(SIGTERM)
        #expect(try await sleeper.end() == .signalled(SIGTERM))
        #expect(throws: Errno.noSuchProcess) { try sleeper.signal(SIGTERM) }
      }
    }

    @Test(arguments: [
      ("/nowhere/program", Errno.noSuchFileOrDirectory), ("/etc/passwd", .permissionDenied),
    ])
    func whatCannotBeStarted(program: String, errno: Errno) async throws {
      try await withDescriptorOracle { _ in
        var command = ServiceCommand(FilePath(program))
        try command.descriptors.append(try .numbered(1), named: "file")
        var found: ServiceError?
        do throws(ServiceError) { _ = try command.start() } catch { found = error }
        #expect(found?.code == .startFailed)
        #expect(found?.errno == errno)
      }
    }
  }
}
