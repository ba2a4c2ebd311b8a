// SPDX-License-Identifier: Apache-2.0
import Glibc
import Logging
import MessageSocketsLifecycle
import Synchronization
import SystemPackage

/// The server. With a control address it can be replaced by another process of this program.
///
/// It answers each message with the process's ID and the message; after `hold` it answers only when
/// the next message has come, so that a client chooses how long the answer takes.
struct Serve: Sendable {
  let socket: String
  var control: String?

  func run() async throws {
    let logger = Logger(label: "graceful-service \(getpid())") {
      StreamLogHandler.standardError(label: $0)
    }
    let manager = ServiceNotifier()
    let complain: @Sendable (any Error) -> Void = { logger.warning("\($0)") }
    var services = [
      // The first ends last: the manager watches a service that stops, too.
      ServiceGroupConfiguration.ServiceConfiguration(service: WatchdogService(manager))
    ]
    if let control {
      let handOver = try await HandOver.begin(at: UnixAddress(path: FilePath(control)))
      var inherited = handOver.takeInherited()
      let listener =
        handOver.isSuccessor
        ? try inherited.descriptors.takeListener(named: "echo", of: UnixSeqpacket.self)
        : try .bind(to: UnixAddress(path: FilePath(socket)))
      services.append(
        HandOverService(
          handOver, listener: listener, named: "echo", notifying: manager, onError: complain,
          handler: Self.answer
        ).configuration)
    } else {
      let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: FilePath(socket)))
      let reloads = Atomic(0)
      services += [
        .init(service: ListenerService(listener, onError: complain, handler: Self.answer)),
        // The last ends first: the manager hears of the end before the others finish their work.
        .init(
          service: ReadinessService(manager, status: "listening on \(socket)", onError: complain) {
            let count = reloads.add(1, ordering: .relaxed).newValue
            try await manager.notify(.status("reloaded \(count)"))
          }),
      ]
    }
    let configuration = ServiceGroupConfiguration(
      services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    try await ServiceGroup(configuration: configuration).run()
  }

  private static func answer(_ connection: UnixSeqpacket) async throws {
    for try await message in connection.messages.untilDraining() {
      var answer = message.payload
      if answer == Array("hold".utf8) {
        try await connection.sendMessage(Array("held".utf8))
        guard let more = try await connection.receiveMessage() else { return }
        answer = more.payload
      }
      try await connection.sendMessage(Array("\(getpid()) ".utf8) + answer)
    }
  }
}
