// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Harness
internal import MessageSockets

@main
struct Command: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "message-sockets",
    abstract:
      "The work of the baselines, done with MessageSockets: a task for each end, on the loop of its socket.",
    discussion: "Prints one line of JSON. One round trip is two messages, one each way.")

  @OptionGroup var options: Options

  @Option(
    help: "How messages are received: \(Shape.allCases.map(\.rawValue).joined(separator: ", ")).")
  var shape = Shape.receive

  @Option(
    help:
      "Where the tasks run: isolated to an actor of their loop (ping-pong and one-way modes), preferring the loop, on the global pool."
  )
  var tasks = Place.actor

  @Option(
    help:
      "Messages of each pair, instead of a time (pingpong modes); for profilers that count instructions."
  )
  var messages: Int?

  @Option(help: ArgumentHelp("The process whose far ends this one has.", visibility: .hidden))
  var parent: Int32?

  func run() throws { try runBlocking(measure) }

  @Sendable private func measure() async throws {
    ProcessState.raiseDescriptorLimit()
    // The runtime's timers open their own descriptors once.
    try await Task.sleep(for: .milliseconds(1))
    let before = ProcessState.openDescriptors
    switch options.kind {
    case .stream: try await run(on: UnixStream.self)
    case .seqpacket: try await run(on: UnixSeqpacket.self)
    case .dgram: try await run(on: UnixDatagram.self)
    }
    try await ProcessState.checkDescriptors(before)
  }

  private func run<Socket: BenchSocket>(on kind: Socket.Type) async throws {
    let bench = try Bench<Socket>(
      options, shape: shape, place: tasks, messages: messages, parent: parent)
    let elapsed = try await Socket.run(bench)
    await bench.loops.shutdown()
    if parent == nil { try bench.report(elapsed).print() }
  }
}
