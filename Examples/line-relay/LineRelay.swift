// SPDX-License-Identifier: Apache-2.0
import Logging
import MessageSockets
import ServiceLifecycle
import UnixSignals

@main
struct LineRelay {
  static func main() async throws {
    guard CommandLine.arguments.count == 2 else { throw Usage() }
    let loop = try IOLoop()
    try await loop.run(serve)
    await loop.shutdown()
  }

  /// Runs until SIGTERM or SIGINT, all of it on one loop.
  @concurrent private static func serve() async throws {
    let directory = FilePath(CommandLine.arguments[1])
    let tally = Tally()
    let collector = LineCollector(
      local: try UnixDatagram.bind(to: UnixAddress(path: directory.appending("lines.sock"))),
      remote: try UDPSocket.bind(to: InternetAddress(.loopback, port: 0)), tally: tally)
    let status = StatusServer(
      listener: try .bind(to: UnixAddress(path: directory.appending("status.sock"))), tally: tally)
    Console.say("collecting from \(try await collector.addresses)")

    let services: [any Service] = [collector, status]
    // Standard output is for the lines.
    let logger = Logger(label: "line-relay") { StreamLogHandler.standardError(label: $0) }
    try await ServiceGroup(
      services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger
    ).run()
  }
}

struct Usage: Error, CustomStringConvertible {
  var description: String { "usage: line-relay DIRECTORY" }
}
