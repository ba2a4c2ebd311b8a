// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets

struct Demo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Runs the service, good clients and hostile ones, each as a process, and checks the outcome.",
    discussion:
      "The last line says what was counted; the exit status is 0 only if all is as it should be."
  )

  @Option(help: "How many good clients.") var clients = 2
  @Option(help: "How many pictures each of them sends.") var frames = 10
  @Option(help: "Where the PNGs go; without it a directory that is removed again.")
  var output: String?

  func run() async throws {
    let loop = try IOLoop()
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
      "frames-\(UUID().uuidString)"
    ).path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let output = output ?? directory
    let socket = directory + "/frames.sock"

    let service = FrameService(writingTo: FilePath(output))
    let listener = try UnixListener<UnixSeqpacket>.bind(
      to: try UnixAddress(argument: socket), policy: FrameService.policy, on: loop)
    let server = Task(executorPreference: loop.taskExecutor) {
      try await listener.serve(
        ServeLimits(maximumConnections: 64), onError: { Self.note("a client: \($0)") },
        handler: service.handle)
    }
    let failures = try await runClients(socket)
    server.cancel()
    try await server.value
    await listener.close()
    await loop.shutdown()
    let leaked = try Self.openFilesOfClients()
    try conclude(service.counts, failures: failures, leaked: leaked, written: output)
  }

  /// Runs all clients concurrently; returns those that failed.
  private func runClients(_ socket: String) async throws -> [String] {
    var processes: [(name: String, process: Process)] = []
    for number in 0..<clients {
      processes.append(
        ("client \(number)", try start(["send", "--socket", socket, "--frames", "\(frames)"])))
    }
    for kind in Harms.allCases {
      processes.append(("\(kind)", try start(["harm", "--socket", socket, "\(kind)"])))
    }
    return await Task.detached { [processes = UncheckedBox(processes)] in
      processes.value.compactMap { name, process in
        process.waitUntilExit()
        let isGood = process.terminationReason == .exit && process.terminationStatus == 0
        return isGood ? nil : "\(name) (\(process.terminationStatus))"
      }
    }.value
  }

  private func start(_ arguments: [String]) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = arguments
    process.standardOutput = FileHandle.standardError
    try process.run()
    return process
  }

  private func conclude(
    _ counts: FrameService.Counts, failures: [String], leaked: Int, written: String
  ) throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: written).filter {
      $0.hasSuffix(".png")
    }.count
    let isGood =
      failures.isEmpty && leaked == 0 && counts.mapped == clients * frames
      && counts.refused >= Harms.allCases.count - 2
      && files >= counts.mapped
    for failure in failures { Self.note("failed: \(failure)") }
    print(
      "\(isGood ? "ok" : "failed"): \(counts.mapped) pictures mapped, \(counts.copied) copied, "
        + "\(counts.refused) refused, \(leaked) descriptors leaked")
    if !isGood { throw ExitCode.failure }
  }

  /// How many descriptors from clients are open here. (Foundation keeps some of its own for each
  /// process that it has started.)
  private static func openFilesOfClients() throws -> Int {
    let directory = "/proc/self/fd"
    return try FileManager.default.contentsOfDirectory(atPath: directory).count { number in
      let target = try? FileManager.default.destinationOfSymbolicLink(
        atPath: "\(directory)/\(number)")
      return target?.hasPrefix("/memfd:") == true || target == "/dev/zero"
    }
  }

  private static func note(_ line: String) {
    FileHandle.standardError.write(Data((line + "\n").utf8))
  }
}

/// `@unchecked Sendable`: the processes are passed to one task, which waits for them.
private struct UncheckedBox<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
