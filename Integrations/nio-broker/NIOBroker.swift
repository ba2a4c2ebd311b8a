// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSocketsNIO
import MessageSocketsTesting
import ServiceManagement
import SystemPackage

@main
struct NIOBroker {
  static func main() async {
    let isWorker = CommandLine.arguments.contains("worker")
    do {
      try await IOLoop().run {
        if isWorker {
          var passed = try Activation.takeDescriptors()
          try await Worker(broker: try passed.takeConnection(named: "broker")).run()
        } else {
          try await Demo().run()
        }
      }
    } catch {
      print("\(isWorker ? "worker" : "broker"): \(error)")
      exit(1)
    }
  }
}

struct Failure: Error, CustomStringConvertible {
  let description: String
}

/// Starts a worker, sends requests with curl through the broker, and counts the descriptors of both
/// processes.
struct Demo {
  let requests = 20

  func run() async throws {
    let (worker, theirs) = try UnixSeqpacket.makePair()
    var command = ServiceCommand(FilePath("/proc/self/exe"), arguments: ["worker"])
    try command.descriptors.append(try await theirs.release(), named: "broker")
    let process = try command.start()
    _ = consume command
    let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
    guard let address = try await listener.localAddress()?.internet else {
      throw Failure(description: "the listener has no address")
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await Broker(listener: listener, worker: worker).run() }
      try await sendRequests(to: address, worker, answeredBy: process.processID)
      group.cancelAll()
      do { try await group.waitForAll() } catch is CancellationError {}
    }
    await listener.close()
    // The worker finds the end.
    await worker.close()
    let ending = try await process.end()
    guard ending == .exited(0) else { throw Failure(description: "the worker ended: \(ending)") }
  }

  private func sendRequests(
    to address: InternetAddress, _ worker: UnixSeqpacket, answeredBy process: Int32
  ) async throws {
    let expected = "answered by process \(process)\n"
    // The first request starts threads, which have descriptors, too.
    _ = try await curl(address)
    let before = try await openIn(worker)
    // Compares the open descriptors of this process, one by one.
    try await withDescriptorCheck {
      for _ in 0..<requests {
        let answer = try await curl(address)
        guard answer == (0, expected) else { throw Failure(description: "curl: \(answer)") }
      }
      let refused = try await curl(address, from: "127.0.0.2")
      guard refused.status != 0, refused.output.isEmpty else {
        throw Failure(description: "a peer that is not admitted got \(refused)")
      }
    }
    let after = try await openIn(worker)
    print(
      """
      \(requests) requests answered by SwiftNIO in process \(process), 1 peer refused
      open descriptors: \(OpenDescriptors().targets.count) in the broker, the same as before; \
      in the worker \(before) before and \(after) after
      """)
    guard before == after else { throw Failure(description: "descriptors have leaked") }
  }

  /// Runs curl, and returns its status and what it printed.
  private func curl(
    _ address: InternetAddress, from source: String = "127.0.0.1"
  ) async throws -> (status: Int32, output: String) {
    let (ours, theirs) = try UnixStream.makePair()
    var command = ServiceCommand(
      FilePath("/usr/bin/curl"),
      arguments: [
        "--silent", "--max-time", "20", "--interface", source, "http://\(address)/",
      ])
    command.output = try await theirs.release()
    let process = try command.start()
    _ = consume command
    var output: [UInt8] = []
    for try await message in ours.messages { output += message.payload }
    await ours.close()
    guard case .exited(let status) = try await process.end() else { return (-1, "") }
    return (status, String(decoding: output, as: UTF8.self))
  }

  private func openIn(_ worker: UnixSeqpacket) async throws -> Int {
    try await worker.sendMessage(Array("count".utf8))
    guard let message = try await worker.receiveMessage(),
      let count = Int(String(decoding: message.payload, as: UTF8.self))
    else { throw Failure(description: "the worker has gone") }
    return count
  }
}
