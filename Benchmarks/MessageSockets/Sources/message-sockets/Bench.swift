internal import Harness
internal import MessageSockets

/// One run: loops, what is sent, and the count of what is received.
struct Bench<Receiver: Receiving>: Sendable {
  typealias Socket = Receiver.Socket

  let options: Options
  let onPool: Bool
  /// How many messages a pair exchanges, if it is not for a time.
  let messages: Int?
  /// In the second of two processes, the first.
  let parent: Int32?
  let loops: IOLoopGroup
  let outgoing: Outgoing
  let meter = Meter()
  let activity: Activity

  init(_ options: Options, onPool: Bool, messages: Int?, parent: Int32?) throws {
    self.options = options
    self.onPool = onPool
    self.messages = messages
    self.parent = parent
    var configuration = IOLoop.Configuration()
    // As in the baselines, a stream does not deliver several messages in one receive.
    configuration.receiveBufferSize = options.bytes
    loops = try IOLoopGroup(count: min(options.threads, options.pairCount), configuration: configuration)
    outgoing = try Outgoing(options)
    activity = Activity(loops: loops)
  }

  func report(_ elapsed: Duration, shape: Shape) throws -> Report {
    var report = try Report("message-sockets", options, messages: meter.messages, elapsed: elapsed)
    activity.describe(in: &report, isCancelling: options.mode == .cancel, onPool: onPool, connections: Double(options.pairCount))
    report.notes = ["shape": shape.rawValue, "executor": onPool ? "pool" : "loop", "driver": "\(loops.loops[0].driver.kind)"]
    return report
  }

  /// Measures while the group's tasks work, and waits for their end.
  func measure(_ group: inout ThrowingTaskGroup<Void, any Error>) async throws -> Duration {
    guard messages == nil else { return try await measureAll(&group) }
    let elapsed = try await meter.measure(options, atBegin: activity.begin, atEnd: activity.end)
    try await group.waitForAll()
    return elapsed
  }

  private func measureAll(_ group: inout ThrowingTaskGroup<Void, any Error>) async throws -> Duration {
    meter.begin()
    let start = ContinuousClock.now
    try await group.waitForAll()
    return ContinuousClock.now - start
  }

  /// Where the tasks of a loop's sockets run.
  func executor(of loop: IOLoop) -> (any TaskExecutor)? { onPool ? nil : loop.taskExecutor }

  /// The loop of pair number `index`: both ends live on it.
  func loop(_ index: Int) -> IOLoop { loops.loops[index % loops.loops.count] }
}
