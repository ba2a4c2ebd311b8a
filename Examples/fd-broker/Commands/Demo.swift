// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation

struct Demo: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Starts a broker and a client as two processes, and checks what they measured.",
    discussion:
      "The last line says what was counted; the exit status is 0 only if it is as much as was asked for and nothing leaked."
  )

  @Option(help: "The directory whose files are served.")
  var root: String

  @Option(help: "How many descriptors to pass.")
  var descriptors = 1000

  @Option(help: "How many receives to cancel.")
  var cancellations = 200

  func run() throws {
    let directory = try TemporaryDirectory()
    defer { directory.remove() }
    let socket = directory.path(of: "broker.sock")

    let server = try ChildProcess(["serve", "--socket", socket, "--root", root])
    defer { server.stop() }
    guard let line = server.readLine(), line.hasPrefix("listening") else {
      throw Failure("the broker did not start (exit status \(server.waitForExit()))")
    }
    let client = try ChildProcess([
      "verify", "--socket", socket, "--root", root, "--descriptors", "\(descriptors)",
      "--cancellations", "\(cancellations)",
    ])
    let clientReport = try client.finalReport(of: "client")
    server.stop()
    let serverReport = try server.finalReport(of: "broker")
    try conclude(client: clientReport, server: serverReport)
  }

  private func conclude(client: Report, server: Report) throws {
    guard let passed = client["passed"], let cancelled = client["cancelled"],
      let received = client["replies"], let sent = server["replies"],
      let clientLeaked = client.leaked, let serverLeaked = server.leaked
    else { throw Failure("a report is incomplete: \(client), \(server)") }
    Console.note("client \(client)")
    Console.note("broker \(server)")
    let leaked = abs(clientLeaked) + abs(serverLeaked)
    let isGood =
      passed >= descriptors && cancelled >= cancellations && received == sent && leaked == 0
    if received != sent {
      Console.note("the broker sent \(sent) replies, and the client received \(received)")
    }
    Console.say(
      "\(isGood ? "ok" : "failed"): \(passed) descriptors passed, \(cancelled) receives cancelled, \(leaked) leaked"
    )
    if !isGood { throw ExitCode.failure }
  }
}
