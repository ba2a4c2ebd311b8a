// SPDX-License-Identifier: Apache-2.0
import Glibc
import Logging
import MessageSocketsLogging
import MessageSocketsMetrics
import MessageSocketsTesting
import MetricsTestKit
import ServiceManagement
import Synchronization
import SystemPackage

@main
struct ObservedServer {
  static func main() async {
    let arguments = CommandLine.arguments
    do {
      if arguments.count == 3, arguments[1] == "visit" {
        try await visit(try UnixAddress(abstract: arguments[2]))
      } else {
        try await Demo().run()
      }
    } catch {
      print("observed-server: \(error)")
      exit(1)
    }
  }

  /// The part of a process that the server refuses.
  private static func visit(_ address: UnixAddress) async throws {
    let socket = try await UnixSeqpacket.connect(to: address)
    let answer: ReceivedMessage?
    do { answer = try await socket.receiveMessage(deadline: .now + .seconds(30)) } catch let error
      as SocketError where error.code == .connectionReset
    { answer = nil }
    guard answer == nil else { throw Failure(description: "the visitor was answered") }
    await socket.close()
  }
}

struct Failure: Error, CustomStringConvertible {
  let description: String
}

/// Runs a server with metrics and logs, and lets three clients talk to it: a good one, a process
/// that is not admitted, and one that violates the policy. Then checks that all of it was seen.
struct Demo {
  private let messages = 100
  /// By the server, by the client, which lives on the same loop, and the one of the violation.
  private var received: Int64 { Int64(2 * messages + 1) }
  private let entries = Entries()
  private let metrics = TestMetrics()

  func run() async throws {
    var visitor: Int32 = 0
    try await withDescriptorCheck { visitor = try await serve() }
    let refusal = entries.first { $0.text == "a peer was refused" }
    let violation = entries.first { $0.metadata["code"] == "policyViolated" }
    guard refusal?.metadata["peer_process"] == "\(visitor)" else {
      throw Failure(description: "the refused process is not in the log: \(entries.all)")
    }
    guard violation?.level == .warning else {
      throw Failure(description: "the violated policy is not in the log: \(entries.all)")
    }
    for entry in entries.all { print("log: \(entry.level): \(entry.text) \(entry.metadata)") }
    print(
      """
      ok: \(count("messages_received")) messages received, \
      \(count("descriptors_refused")) descriptors refused, 1 peer refused, 1 policy violated
      """)
  }

  /// Returns the process that was refused.
  private func serve() async throws -> Int32 {
    let loop = try IOLoop()
    let log = SocketLogger(Logger(label: "observed-server") { _ in EntryHandler(entries: entries) })
    log.driver(of: loop)
    let reports = LoopMetrics([loop], every: .milliseconds(10), factory: metrics)
    var policy = ReceivePolicy(maximumDescriptorsPerMessage: 1)
    policy.onSurplus = .throwError
    let name = "message-sockets-observed-\(getpid())"
    let listener = try UnixListener<UnixSeqpacket>.bind(
      to: UnixAddress(abstract: name),
      authorization: .custom { $0.processID == getpid() }.logging(to: log), policy: policy,
      on: loop)
    let serving = Task {
      try await listener.serve(onError: { log.failure($0) }) { connection in
        for try await message in connection.messages.untilDraining() {
          try await connection.sendMessage(message.payload)
        }
      }
    }
    let reporting = Task { try await reports.run() }
    let visitor: Int32
    do {
      visitor = try await loop.run { [messages] in
        try await Self.talk(to: UnixAddress(abstract: name), messages)
        try await Self.violate(UnixAddress(abstract: name))
        return try await Self.visit(name)
      }
      try await untilReported()
    } catch {
      serving.cancel()
      reporting.cancel()
      throw error
    }
    serving.cancel()
    reporting.cancel()
    try await serving.value
    _ = await reporting.result
    guard log.flush(atMost: .seconds(10)) else {
      throw Failure(description: "the log has not taken all entries")
    }
    return visitor
  }

  private static func talk(to address: UnixAddress, _ messages: Int) async throws {
    let socket = try await UnixSeqpacket.connect(to: address)
    for number in 0..<messages {
      try await socket.sendMessage([UInt8(number)])
      guard try await socket.receiveMessage()?.payload == [UInt8(number)] else {
        throw Failure(description: "another answer came")
      }
    }
    await socket.close()
  }

  /// Sends more descriptors than the policy admits. The server closes the connection.
  private static func violate(_ address: UnixAddress) async throws {
    let socket = try await UnixSeqpacket.connect(to: address)
    let files = try OwnedFds(duplicating: [.standardError, .standardError])
    try await socket.sendMessage([0], descriptors: files.span)
    guard try await socket.receiveMessage() == nil else {
      throw Failure(description: "the violation was answered")
    }
    await socket.close()
  }

  private static func visit(_ name: String) async throws -> Int32 {
    let command = ServiceCommand("/proc/self/exe", arguments: ["visit", name])
    let process = try command.start()
    let ending = try await process.end()
    guard ending == .exited(0) else { throw Failure(description: "the visitor ended: \(ending)") }
    return process.processID
  }

  /// Waits for the report of what was counted.
  private func untilReported() async throws {
    let limit = ContinuousClock.now + .seconds(30)
    while count("messages_received") < received || count("descriptors_refused") == 0 {
      guard ContinuousClock.now < limit else {
        throw Failure(description: "\(count("messages_received")) messages were reported")
      }
      await Task.yield()
    }
  }

  private func count(_ name: String) -> Int64 {
    metrics.counters.filter { $0.label == "message_sockets_\(name)" }.map(\.totalValue).reduce(0, +)
  }
}
