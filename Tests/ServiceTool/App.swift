// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import MessageSockets
import ServiceManagement
import Synchronization
import SystemPackage

/// The features of the article "Run under systemd" in one program: a listener, readiness, a
/// watchdog, and sessions that outlive a restart in the manager's store. It answers each line with
/// its number.
final class App: Sendable {
  private let manager = ServiceNotifier()
  private let number = Atomic(0)

  func run() async throws {
    var passed = try Activation.takeDescriptors()
    let web: TCPListener = try passed.takeListener(named: "web")
    var sessions: [(name: String, socket: TCPStream)] = []
    for name in passed.names where name.hasPrefix("session-") {
      sessions.append((name, try passed.takeConnection(named: name)))
    }
    for name in passed.names { say("nobody takes the descriptor named \(name)") }
    try await manager.notify(.ready, .status("listening on \(web.address)"))
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { try await self.manager.keepAlive() }
      for session in sessions {
        group.addTask { try await self.serve(session.socket, named: session.name) }
      }
      let serving = Task { try await web.serve { try await self.serve($0) } }
      signal(SIGTERM, SIG_IGN)
      let stop = DispatchSource.makeSignalSource(signal: SIGTERM)
      stop.setEventHandler { serving.cancel() }
      stop.resume()
      try await serving.value
      stop.cancel()
      try await manager.notify(.stopping)
      group.cancelAll()
    }
  }

  private func serve(_ connection: TCPStream) async throws {
    let name = "session-\(getpid())-\(number.add(1, ordering: .relaxed).newValue)"
    var session = NamedDescriptors()
    try await session.append(duplicateOf: connection, named: name)
    try await manager.store(session)
    try await manager.barrier()
    try await serve(connection, named: name)
  }

  /// Serves until the client ends, and then tells the manager to forget the connection. If the
  /// service is stopped, the manager keeps the connection.
  private func serve(_ connection: TCPStream, named name: String) async throws {
    do {
      for try await message in connection.messages.untilDraining() {
        try await connection.sendMessage(Array("\(getpid()) ".utf8) + message.payload)
      }
    } catch is CancellationError { return }
    if !connection.isDraining { try await manager.removeStored(named: name) }
  }
}
