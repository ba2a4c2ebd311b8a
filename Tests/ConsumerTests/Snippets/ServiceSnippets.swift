// SPDX-License-Identifier: Apache-2.0
import Dispatch
import MessageSockets
import ServiceManagement
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The code examples in the articles of `ServiceManagement`, compiled. That module's tests run
/// similar code in separate processes.
enum ServiceSnippets {
  static func runUnderSystemd() async throws {
    // begin RunUnderSystemd
    let manager = ServiceNotifier()
    var passed = try Activation.takeDescriptors()
    let web: TCPListener = try passed.takeListener(named: "web")
    for name in passed.names { print("unused descriptor: \(name)") }
    try await manager.notify(.ready, .status("listening on \(web.address)"))
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { try await manager.keepAlive() }
      let serving = Task {
        try await web.serve { connection in
          for try await request in connection.messages {
            try await connection.sendMessage(request.payload)
          }
        }
      }
      // systemd stops the server with SIGTERM, which would end the process here and now.
      signal(SIGTERM, SIG_IGN)
      let stop = DispatchSource.makeSignalSource(signal: SIGTERM)
      stop.setEventHandler { serving.cancel() }
      stop.resume()
      try await serving.value
      stop.cancel()
      try await manager.notify(.stopping)
      group.cancelAll()
    }
    // end
  }

  static func reload(_ manager: ServiceNotifier) async throws {
    // begin RunUnderSystemd
    try await manager.notify(NotifyField.reloading())
    // Read the configuration again.
    try await manager.notify(.ready)
    // end
  }

  static func store(_ connection: TCPStream, _ manager: ServiceNotifier) async throws {
    // begin RunUnderSystemd
    var sessions = NamedDescriptors()
    try await sessions.append(duplicateOf: connection, named: "session-1")
    try await manager.store(sessions)
    try await manager.barrier()  // systemd has them now.
    // end
  }

  static func takeBack(_ resume: (TCPStream) -> Void) throws {
    // begin RunUnderSystemd
    var passed = try Activation.takeDescriptors()
    while passed.names.contains("session-1") {
      let session: TCPStream = try passed.takeConnection(named: "session-1")
      resume(session)
    }
    // end
  }

  static func handOver(_ control: UnixAddress, _ address: InternetAddress) async throws {
    // begin ReplaceARunningServer
    let handOver = try await HandOver.begin(at: control)
    var inherited = handOver.takeInherited()
    let web: TCPListener =
      handOver.isSuccessor
      ? try inherited.descriptors.takeListener(named: "web") : try .bind(to: address)

    let ending = try await handOver.run {
      var items = HandOverItems()
      try await items.descriptors.append(duplicateOf: web, named: "web")
      return items
    } serving: { announce in
      announce()
      try await web.serve { connection in
        for try await request in connection.messages {
          try await connection.sendMessage(request.payload)
        }
      }
    }
    // end
    #expect(ending == .replaced)
  }
}

/// The code examples in the guide on child processes, run with a shell as the child.
@Suite struct ChildSnippets {
  @Test func startingAChild() async throws {
    let program: FilePath = "/bin/sh"
    let arguments = ["-c", "echo ready >&3"]
    var lines: [String] = []
    func print(_ line: String) { lines.append(line) }
    // begin StartingAChild
    let command = ServiceCommand(program, arguments: arguments)
    let (child, control) = try command.start(control: UnixSeqpacket.self)
    try await control.setReceivePolicy(.noDescriptors)
    for try await message in control.messages {
      print("the child says \(String(decoding: message.payload, as: UTF8.self))")
    }
    await control.close()
    let ending = try await child.end()
    // end
    #expect(lines == ["the child says ready\n"])
    #expect(ending == .exited(0))
  }

  static func inTheChild() async throws {
    // begin StartingAChild
    let control: UnixSeqpacket = try Activation.takeControlSocket()
    try await control.sendMessage(Array("ready".utf8))
    for try await request in control.messages {
      if let file = request.takeDescriptor() { try copy(file) }
    }
    // end
  }

  static func withOtherDescriptors(_ listener: TCPListener, _ program: FilePath) async throws {
    // begin StartingAChild
    var command = ServiceCommand(program)
    try await command.descriptors.append(duplicateOf: listener, named: "web")
    let (child, control) = try command.start(control: UnixSeqpacket.self)
    // end
    await control.close()
    _ = try await child.end()
  }

  static func inTheChildWithOthers() throws {
    // begin StartingAChild
    var passed = try Activation.takeDescriptors()
    let web: TCPListener = try passed.takeListener(named: "web")
    let control: UnixSeqpacket = try passed.takeConnection(named: "control")
    // end
    _ = (web, control)
  }

  static func withoutRights(_ program: FilePath) throws {
    // begin StartingAChild
    var command = ServiceCommand(program)
    command.rights = .user(65534, group: 65534)
    let (child, control) = try command.start(control: UnixSeqpacket.self)
    // end
    _ = (child, control)
  }

  private static func copy(_ file: borrowing OwnedFd) throws {}
}
