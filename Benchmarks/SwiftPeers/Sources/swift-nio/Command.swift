// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import Harness
internal import NIOCore
internal import NIOPosix

/// SwiftNIO: an `NIOAsyncChannel` for each end. The tasks run on the event loops, through NIO's own
/// hook into the concurrency runtime; on the global pool each message would hop.
@main
struct Command: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "swift-nio",
    abstract:
      "SwiftNIO, NIOAsyncChannel over Unix sockets (pingpong, twothreads and oneway modes, no descriptors)."
  )

  @OptionGroup var options: Options

  func validate() throws {
    guard options.fds == 0, options.kind == .stream else {
      throw ValidationError("SwiftNIO passes no descriptors, and knows streams only")
    }
  }

  func run() throws { try runBlocking(measure) }

  @Sendable private func measure() async throws {
    ProcessState.raiseDescriptorLimit()
    NIOSingletons.groupLoopCountSuggestion = options.threads
    guard NIOSingletons.unsafeTryInstallSingletonPosixEventLoopGroupAsConcurrencyGlobalExecutor()
    else {
      throw Failure("NIO's event loops cannot become the concurrency runtime's executor")
    }
    let meter = Meter()
    let elapsed = try await measure(meter)
    try Report("swift-nio", options, messages: meter.messages, elapsed: elapsed).print()
  }

  private func measure(_ meter: Meter) async throws -> Duration {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<options.pairCount {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let (near, far) = try openSocketPair(.stream)
        let nearEnd = End(try await open(near, on: loop), options, meter)
        let farEnd = End(try await open(far, on: loop), options, meter)
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

  private func open(_ descriptor: Int32, on loop: any EventLoop) async throws -> End.Channel {
    // As in the baselines, a receive brings at most one message.
    try await ClientBootstrap(group: loop)
      .channelOption(
        .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: options.bytes)
      )
      .withConnectedSocket(descriptor) { channel in
        channel.eventLoop.makeCompletedFuture {
          try End.Channel(wrappingChannelSynchronously: channel)
        }
      }
  }
}
