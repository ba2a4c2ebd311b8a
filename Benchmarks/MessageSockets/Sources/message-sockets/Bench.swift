// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import MessageSockets

/// One run: the loops, the message to send, and the count of received messages. A single reference,
/// because every task has a copy.
struct Bench<Socket: BenchSocket>: Sendable {
  let setting: Setting

  final class Setting: Sendable {
    let options: Options
    let shape: Shape
    let place: Place
    let messages: Int?
    let parent: Int32?
    let loops: IOLoopGroup
    let outgoing: Outgoing
    let meter = Meter()
    let activity: Activity

    init(_ options: Options, shape: Shape, place: Place, messages: Int?, parent: Int32?) throws {
      self.options = options
      self.shape = shape
      self.place = place
      self.messages = messages
      self.parent = parent
      var configuration = IOLoop.Configuration()
      // As in the baselines, one receive on a stream delivers at most one message.
      configuration.receiveBufferSize = options.bytes
      loops = try IOLoopGroup(
        count: min(options.threads, options.pairCount), configuration: configuration)
      outgoing = try Outgoing(options)
      activity = Activity(loops: loops)
    }
  }

  init(_ options: Options, shape: Shape, place: Place, messages: Int?, parent: Int32?) throws {
    setting = try Setting(options, shape: shape, place: place, messages: messages, parent: parent)
  }

  var options: Options { setting.options }
  /// How many messages a pair exchanges; nil if the run is limited by time.
  var messages: Int? { setting.messages }
  /// In the second of two processes, the process ID of the first.
  var parent: Int32? { setting.parent }
  var loops: IOLoopGroup { setting.loops }
  var outgoing: Outgoing { setting.outgoing }
  var meter: Meter { setting.meter }
  var activity: Activity { setting.activity }

  /// Never inlined, so that its values are not in the frame that a task keeps while it waits.
  @inline(never)
  func receiver(on socket: Socket) -> Receiver<Socket> { Receiver(socket, setting.shape, options) }

  func report(_ elapsed: Duration) throws -> Report {
    var report = try Report("message-sockets", options, messages: meter.messages, elapsed: elapsed)
    activity.describe(
      in: &report, isCancelling: options.mode == .cancel, onPool: setting.place == .pool,
      connections: Double(options.pairCount))
    report.notes = [
      "shape": setting.shape.rawValue, "tasks": setting.place.rawValue,
      "driver": "\(loops.loops[0].driver.kind)",
    ]
    return report
  }

  /// Measures while the group's tasks work, and waits until they have ended.
  func measure(_ group: inout ThrowingTaskGroup<Void, any Error>) async throws -> Duration {
    guard messages == nil else { return try await measureAll(&group) }
    let elapsed = try await meter.measure(options, atBegin: activity.begin, atEnd: activity.end)
    try await group.waitForAll()
    return elapsed
  }

  private func measureAll(_ group: inout ThrowingTaskGroup<Void, any Error>) async throws
    -> Duration
  {
    meter.begin()
    let start = ContinuousClock.now
    try await group.waitForAll()
    return ContinuousClock.now - start
  }

  /// The executor that the tasks of a loop's sockets prefer, if they are not isolated.
  func executor(of loop: IOLoop) -> (any TaskExecutor)? {
    setting.place == .pool ? nil : loop.taskExecutor
  }

  /// Adds a task that runs where the options say.
  func addTask(
    to group: inout ThrowingTaskGroup<Void, any Error>, on loop: IOLoop,
    _ work: nonisolated(nonsending) @escaping @Sendable () async throws -> Void
  ) {
    if setting.place == .actor {
      group.addTask { try await LoopActor(loop).run(work) }
    } else {
      group.addTask(executorPreference: executor(of: loop)) { try await work() }
    }
  }

  /// The loop of pair number `index`; both ends are on it.
  func loop(_ index: Int) -> IOLoop { loops.loops[index % loops.loops.count] }
}
