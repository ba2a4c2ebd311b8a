// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets

struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Serves the files below a directory until SIGTERM or SIGINT.",
    discussion: """
      Prints "listening on PATH" once clients can connect, and a report of what it did and of its open descriptors when it has stopped.
      Regular files are served, symbolic links are not followed. Who may connect is who may write to the socket file.
      """
  )

  @Option(
    help:
      "Where to listen: a path (at most 108 bytes; the file of a server that was killed is replaced), or @NAME for an abstract address."
  )
  var socket: String

  @Option(
    help:
      "Where to listen for Varlink, too: a path, or @NAME. The method is com.example.Broker.Open(path) -> (file)."
  )
  var varlink: String?

  @Option(help: "The directory whose files are served.")
  var root: String

  func run() async throws {
    let address = try UnixAddress(argument: socket)
    let signals = await StopSignals()
    defer { signals.cancel() }
    let loop = try IOLoop()

    // Everything that is opened from here on has an owner that ends before the second count.
    let before = try await OpenDescriptors.baseline()
    try await loop.run { try await serve(at: address, until: signals.arrivals) }
    let after = try OpenDescriptors.current()

    let statistics = await loop.statistics
    await loop.shutdown()
    Console.say(
      "\(Report(["replies": Int(statistics.messagesSent)], before: before, after: after))")
  }

  private func serve(at address: UnixAddress, until stop: AsyncStream<Void>) async throws {
    let directory = try ServedDirectory(existing: root)
    let listener = try UnixListener<UnixSeqpacket>.bind(to: address)
    let server = BrokerServer(listener: listener, directory: directory)
    let varlinkListener = try varlink.map {
      try UnixListener<UnixStream>.bind(to: UnixAddress(argument: $0))
    }
    let varlinkBroker = VarlinkBroker(directory: try ServedDirectory(existing: root))
    Console.say("listening on \(address)")

    // The first to end, the signal or the server, ends the other.
    try await withThrowingTaskGroup { group in
      group.addTask { try await server.run() }
      if let varlinkListener { group.addTask { try await varlinkBroker.run(on: varlinkListener) } }
      group.addTask { for await _ in stop { return } }
      try await group.next()
      group.cancelAll()
    }
    await listener.close()
    await varlinkListener?.close()
  }
}
