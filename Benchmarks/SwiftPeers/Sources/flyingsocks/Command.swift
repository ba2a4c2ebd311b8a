// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import FlyingSocks
internal import Harness

/// FlyingSocks: an `AsyncSocket` for each end, on its epoll pool; the tasks run on the global pool.
@main
struct Command: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flyingsocks",
    abstract:
      "FlyingSocks, AsyncSocket over Unix sockets (pingpong, twothreads and oneway modes, no descriptors)."
  )

  @OptionGroup var options: Options

  func validate() throws {
    guard options.fds == 0, options.kind == .stream else {
      throw ValidationError("FlyingSocks passes no descriptors here, and streams only")
    }
  }

  func run() throws { try runBlocking(measure) }

  @Sendable private func measure() async throws {
    ProcessState.raiseDescriptorLimit()
    let pool = SocketPool.ePoll(maxEvents: 256)
    try await pool.prepare()
    let running = Task { try await pool.run() }
    try await Task.sleep(for: .milliseconds(1))
    let before = ProcessState.openDescriptors
    let meter = Meter()
    let elapsed = try await measure(meter, pool)
    try await ProcessState.checkDescriptors(before)
    running.cancel()
    try Report("flyingsocks", options, messages: meter.messages, elapsed: elapsed).print()
  }

  private func measure(_ meter: Meter, _ pool: some AsyncSocketPool) async throws -> Duration {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<options.pairCount {
        let (near, far) = try openSocketPair(.stream)
        let nearEnd = End(try open(near, pool), options, meter)
        let farEnd = End(try open(far, pool), options, meter)
        switch options.mode {
        case .pingpong, .twothreads:
          group.addTask { try await nearEnd.ask() }
          group.addTask { try await farEnd.answer() }
        case .oneway:
          group.addTask { try await nearEnd.sendAll() }
          group.addTask { try await farEnd.count() }
        default:
          throw Failure("no \(options.mode) mode (see --help)")
        }
      }
      let elapsed = try await meter.measure(options)
      try await group.waitForAll()
      return elapsed
    }
  }

  private func open(_ descriptor: Int32, _ pool: some AsyncSocketPool) throws -> AsyncSocket {
    try AsyncSocket(socket: Socket(file: .init(rawValue: descriptor)), pool: pool)
  }
}
