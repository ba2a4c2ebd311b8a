// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Logging
import MessageSockets
import ServiceLifecycle
import ServiceManagement
import UnixSignals

@main
struct HotRestart: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hot-restart",
    abstract: "An echo server over TCP that is replaced without losing a connection.",
    subcommands: [Serve.self, Demo.self])
}

struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Serve; take over from the process at the control address, if there is one.",
    discussion:
      "SIGHUP starts a successor, from the program's file as it is then. SIGTERM ends the server when its connections have."
  )

  @Option(help: "Where a process finds its predecessor.") var control = "/run/hot-restart/control"
  @Option(
    help: "The port of the first process, if no service manager has passed a listener; 0 for any.")
  var port: UInt16 = 7000

  func run() async throws {
    // Until the program waits for it, the signal would end the process.
    signal(SIGHUP, SIG_IGN)
    let loop = try IOLoop()
    try await loop.run(serve)
    await loop.shutdown()
  }

  @concurrent private func serve() async throws {
    let logger = Logger(label: "hot-restart \(getpid())") {
      StreamLogHandler.standardError(label: $0)
    }
    let handOver = try await HandOver.begin(at: UnixAddress(path: FilePath(control))) { event in
      logger.debug("\(event)")
    }
    let server = EchoServer(
      handOver: handOver, listener: try listener(handOver, logger), manager: ServiceNotifier(),
      logger: logger)
    logger.info(
      "listening on \(server.listener.address)\(handOver.isSuccessor ? ", instead of another process" : "")"
    )

    let configuration = ServiceGroupConfiguration(
      services: [
        // Once a successor serves, the process has nothing left to do.
        .init(service: server, successTerminationBehavior: .gracefullyShutdownGroup),
        .init(service: Reloader(arguments: ["serve", "--control", control], logger: logger)),
      ], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    try await ServiceGroup(configuration: configuration).run()
  }

  /// The listener from the predecessor, from the service manager, or a new one.
  private func listener(_ handOver: HandOver, _ logger: Logger) throws -> TCPListener {
    var inherited = handOver.takeInherited()
    if handOver.isSuccessor { return try inherited.descriptors.takeListener(named: "echo") }
    var passed = try Activation.takeDescriptors()
    if !passed.isEmpty {
      let listener: TCPListener = try passed.takeListener(named: "echo")
      for name in passed.names { logger.warning("unused descriptor: \(name)") }
      return listener
    }
    return try .bind(to: InternetAddress(.any as IPv4Address, port: port))
  }
}
