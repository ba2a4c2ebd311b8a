// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets
import ServiceManagement

struct Demo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Replace a server again and again while clients ask it, and count what they get.",
    discussion:
      "Fails if a connection was refused or lost, or an answer was not one answer to one question.")

  @Option(help: "How often the server is replaced.") var replacements = 10
  @Option(help: "How many clients ask at the same time.") var clients = 32
  @Option(help: "How many questions each process answers, at least, before it is replaced.")
  var questions = 2_000

  func run() async throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
      "hot-restart-\(getpid())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    // A port that is free now. The server keeps it as long as one of its processes is alive.
    let reserved = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
    let port = reserved.address.port
    await reserved.close()

    let control = directory.appendingPathComponent("control").path
    var server = try await start(control, port)
    // No process continues after a failure.
    defer { try? server.signal(SIGKILL) }
    try await untilSomebodyListens(at: InternetAddress(.loopback as IPv4Address, port: port))
    let load = try Clients(
      asking: InternetAddress(.loopback as IPv4Address, port: port), count: clients)
    let start = ContinuousClock.now
    try await load.answer(questions)
    for _ in 0..<replacements {
      load.replace(true)
      let predecessor = server
      server = try await self.start(control, port)
      defer { try? predecessor.signal(SIGKILL) }
      try await untilReplaced(predecessor, by: server)
      load.replace(false)
      try await load.answer(questions)
    }
    let time = ContinuousClock.now - start
    let counts = await load.stop()
    try server.signal(SIGTERM)
    guard try await server.end() == .exited(0) else { throw Failure("the last process has failed") }
    print(counts.report(replacements, time))
    guard counts.failures == 0, counts.servers.count == replacements + 1 else {
      throw Failure("not every question got its one answer")
    }
  }

  private func start(_ control: String, _ port: UInt16) async throws -> ServiceProcess {
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    return try ServiceCommand(
      FilePath(program), arguments: ["serve", "--control", control, "--port", "\(port)"]
    ).start()
  }

  /// Waits for the replacement. If the successor fails, the server stays as it was and would never
  /// end.
  private func untilReplaced(_ server: ServiceProcess, by successor: ServiceProcess) async throws {
    try await withThrowingTaskGroup { group in
      group.addTask {
        guard try await server.end() == .exited(0) else {
          throw Failure("process \(server.processID) has failed")
        }
      }
      group.addTask {
        throw Failure("the successor \(successor.processID) has \(try await successor.end())")
      }
      group.addTask {
        try await Task.sleep(for: .seconds(60))
        throw Failure("process \(server.processID) was not replaced within 60 seconds")
      }
      try await group.next()
      group.cancelAll()
    }
  }

  private func untilSomebodyListens(at address: InternetAddress) async throws {
    for _ in 0..<600 {
      do {
        return await (try TCPStream.connect(to: address)).close()
      } catch let error as SocketError where error.code == .connectionRefused {
        try await Task.sleep(for: .milliseconds(50))
      }
    }
    throw Failure("the server does not start")
  }
}

struct Failure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
