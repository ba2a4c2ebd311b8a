// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets

struct Demo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Talks to containers that runc starts, while other clients send what they should not.",
    discussion:
      "The last line says what was counted; the exit status is 0 only if all is as it should be. "
      + "Where runc cannot run a container, the line says why, and the other clients run alone.")

  func run() async throws {
    // Ends the program if it hangs.
    alarm(120)
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
      "console-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(at: directory) }
    let socket = directory.appendingPathComponent("console.sock").path
    let (refusals, refused) = AsyncStream.makeStream(of: (any Error).self)
    let (ends, ended) = AsyncStream.makeStream(of: Void.self)
    let typed = Pipe()
    let printed = Pipe()
    let (input, output) = (
      typed.fileHandleForReading.fileDescriptor, printed.fileHandleForWriting.fileDescriptor
    )

    let loop = try IOLoop()
    let listener = try UnixListener.forTerminals(at: socket, on: loop)
    let server = Task(executorPreference: loop.taskExecutor) {
      try await listener.serveTerminals(onRefusal: { refused.yield($0) }) { terminal in
        terminal.setSize(rows: 37, columns: 101)
        try await Relay(terminal, input: input, output: output).run()
        ended.yield()
      }
    }
    var failures = try await refuseAll(at: socket, refusals)
    var containers = "2 containers"
    do {
      let runtime = try Containers(in: directory)
      defer { runtime.removeAll() }
      var lines = Lines(printed.fileHandleForReading)

      // One that ends by itself.
      try runtime.start(
        "talks", "read line; echo size $(stty size); echo read $line", socket: socket)
      try typed.fileHandleForWriting.write(contentsOf: Data("hello\n".utf8))
      for await _ in ends { break }
      for expected in ["size 37 101", "read hello"] where !lines.contain(expected) {
        failures.append("the container has not printed '\(expected)'")
      }
      try await runtime.remove("talks")

      // One that waits for more than it gets: its terminal is hung up, which ends it.
      try runtime.start("waits", "echo waiting; cat", socket: socket)
      if !lines.contain("waiting") { failures.append("the second container has not printed") }
      server.cancel()
      try await server.value
      try await runtime.remove("waits")
    } catch let error as Containers.Unavailable {
      containers = "containers skipped (\(error))"
      server.cancel()
      try await server.value
    }
    await loop.shutdown()
    let leaked = try await openFilesOfClients()
    if leaked > 0 { failures.append("\(leaked) descriptors are open") }
    for failure in failures { note("failed: \(failure)") }
    print(
      "\(failures.isEmpty ? "ok" : "failed"): \(containers), "
        + "\(Harms.allCases.count) clients refused, \(leaked) descriptors leaked")
    if !failures.isEmpty { throw ExitCode.failure }
  }

  /// Runs each faulty client as a process, and returns those that were not refused as expected.
  private func refuseAll(at socket: String, _ refusals: AsyncStream<any Error>) async throws
    -> [String]
  {
    var failures: [String] = []
    var reasons = refusals.makeAsyncIterator()
    for kind in Harms.allCases {
      let client = Process()
      client.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      client.arguments = ["harm", "--socket", socket, kind.rawValue]
      try client.run()
      client.waitUntilExit()
      let reason = await reasons.next()
      if reason as? Refusal != kind.expected || client.terminationStatus != 0 {
        failures.append("\(kind): \(reason.map { "\($0)" } ?? "not refused")")
      }
    }
    return failures
  }

  /// How many descriptors from clients are open here. Looks again for a moment, because refused
  /// descriptors close on another thread.
  private func openFilesOfClients() async throws -> Int {
    let limit = ContinuousClock.now + .seconds(5)
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    while true {
      let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count {
        let target = try? FileManager.default.destinationOfSymbolicLink(
          atPath: "/proc/self/fd/\($0)")
        guard let target else { return false }
        return target.hasSuffix("ptmx") || target == "/dev/zero" || target == program
      }
      if open == 0 || ContinuousClock.now > limit { return open }
      try await Task.sleep(for: .milliseconds(1))
    }
  }
}

/// What containers print.
private struct Lines {
  private let output: FileHandle
  private var bytes: [UInt8] = []

  init(_ output: FileHandle) { self.output = output }

  /// Reads until the text has come. What stands before it is dropped.
  mutating func contain(_ text: String) -> Bool {
    while true {
      if let place = bytes.firstRange(of: Array(text.utf8)) {
        bytes.removeSubrange(..<place.upperBound)
        return true
      }
      let more = output.availableData
      if more.isEmpty { return false }
      bytes += more
    }
  }
}
