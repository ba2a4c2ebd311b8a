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

/// What the articles of `ServiceManagement` show, compiled. Processes of their own do the same in
/// the tests of that module.
enum ServiceSnippets {
  static func runUnderSystemd() async throws {
    // begin RunUnderSystemd
    let manager = ServiceNotifier()
    var passed = try Activation.takeDescriptors()
    let web: TCPListener = try passed.takeListener(named: "web")
    for name in passed.names { print("nobody takes the descriptor named \(name)") }
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
