// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import ArgumentParser
internal import Harness
internal import SystemPackage

/// Plain blocking calls of `Ancillary`, with a thread for each end.
@main
struct Command: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "swift-blocking",
    abstract: "The blocking form of Ancillary: a thread for each end (perside and oneway modes).")

  @OptionGroup var options: Options

  func run() throws { try runBlocking(measure) }

  @Sendable private func measure() async throws {
    ProcessState.raiseDescriptorLimit()
    try await Task.sleep(for: .milliseconds(1))
    let before = ProcessState.openDescriptors
    let meter = Meter()
    let elapsed = try await measure(meter)
    try await ProcessState.checkDescriptors(before)
    try Report("swift-blocking", options, messages: meter.messages, elapsed: elapsed).print()
  }

  private func measure(_ meter: Meter) async throws -> Duration {
    let outgoing = try Outgoing(options)
    var threads: [BlockingThread] = []
    for _ in 0..<options.pairCount {
      let (near, far) = try openSocketPair(options.kind)
      let nearEnd = End(FileDescriptor(rawValue: near), options, outgoing, meter)
      let farEnd = End(FileDescriptor(rawValue: far), options, outgoing, meter)
      switch options.mode {
      case .perside:
        threads.append(BlockingThread { try nearEnd.ask() })
        threads.append(BlockingThread { try farEnd.answer() })
      case .oneway:
        threads.append(BlockingThread { try nearEnd.sendAll() })
        threads.append(BlockingThread { try farEnd.count() })
      default:
        throw Failure("no \(options.mode) mode (see --help)")
      }
    }
    let elapsed = try await meter.measure(options)
    for thread in threads { thread.join() }
    return elapsed
  }
}
