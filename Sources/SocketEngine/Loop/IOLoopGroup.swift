// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import Synchronization

/// Several loops, each with a thread of its own, to spread sockets over. A socket stays on its
/// loop; loops share nothing while messages flow.
public final class IOLoopGroup: Sendable {
  /// The loops, in the order in which ``next()`` gives them out.
  public let loops: [IOLoop]
  private let turn = Atomic(0)

  /// Starts `count` loops; by default as many as the process may use processors
  /// (sched_getaffinity(2)).
  ///
  /// - Throws: ``SocketError`` as ``IOLoop/init(_:)`` does; loops that were started before end.
  ///   `invalidConfiguration` if `count` is not 1 or more.
  public convenience init(
    count: Int = IOLoopGroup.defaultCount,
    configuration: IOLoop.Configuration = IOLoop.Configuration()
  ) throws(SocketError) {
    try self.init(count: count, configuration: configuration, withMainThread: false)
  }

  /// - Parameter withMainThread: Whether the calling thread, which must be the main thread, will
  ///   run the first loop.
  init(count: Int, configuration: IOLoop.Configuration, withMainThread: Bool) throws(SocketError) {
    try Self.check(count)
    var loops = withMainThread ? [try IOLoop(onThisThread: configuration)] : []
    for index in loops.count..<count {
      var configuration = configuration
      configuration.name += "-\(index)"
      loops.append(try IOLoop(configuration))
    }
    self.loops = loops
  }

  static func check(_ count: Int) throws(SocketError) {
    guard count > 0 else {
      throw SocketError(
        .invalidConfiguration, .startLoop, detail: "a group of \(count) loops; it has at least one")
    }
  }

  /// One for each processor that the process may use.
  public static var defaultCount: Int { max(1, Int(cms_usable_processors())) }

  /// The next loop, in turn. May be called from any thread.
  public func next() -> IOLoop {
    let ticket = turn.wrappingAdd(1, ordering: .relaxed).oldValue
    return loops[Int(UInt(bitPattern: ticket) % UInt(loops.count))]
  }

  /// The loop that the calling thread runs, if it is in this group.
  var current: IOLoop? { loops.first(where: \.isCurrent) }

  /// Decides where a listener's connections live: on the group passed by the caller; on the shared
  /// group if no loop was passed and the caller is not in ``IOLoop/run(_:)``; otherwise on the
  /// listener's own loop, for which this returns nil.
  package static func resolve(
    _ group: IOLoopGroup?, on loop: IOLoop?
  ) throws(SocketError) -> IOLoopGroup? {
    if let group { return group }
    return loop == nil && IOLoop.current == nil ? try .shared() : nil
  }

  /// Makes the shared group, with the main thread's loop as its first. Returns nil on any other
  /// thread, or if there is a shared group already.
  package static func makeSharedWithMainThread() throws(SocketError) -> IOLoopGroup? {
    cms_is_main_thread() ? try sharedLoops.groupWithMainThread() : nil
  }

  /// Shuts all loops down. See ``IOLoop/shutdown()``.
  public func shutdown() async {
    await withTaskGroup(of: Void.self) { group in
      for loop in loops { group.addTask { await loop.shutdown() } }
    }
  }

  /// The group of the process for sockets made without naming a loop; started on first use.
  ///
  /// It lives as long as the process; nothing has to be done at the end. Do not shut it down, but
  /// in the last lines of a program: it does not start again, and what is used of its sockets then
  /// throws `loopShutDown`. For loops with an end, make a group of your own.
  ///
  /// - Throws: ``SocketError`` as ``init(count:configuration:)`` does; then a later call tries
  ///   again.
  public static func shared() throws(SocketError) -> IOLoopGroup { try sharedLoops.group() }

  /// Says how many loops ``shared()`` has, and how they are configured: once, first thing in a
  /// program, before any socket is made without naming a loop. Starts no loop.
  /// ```swift
  /// var configuration = IOLoop.Configuration()
  /// configuration.receiveBufferSize = 1 << 20
  /// try IOLoopGroup.configureShared(configuration: configuration)
  /// ```
  /// A library leaves it to the program.
  ///
  /// - Throws: ``SocketError`` with the code `invalidConfiguration`: a limit is out of its range,
  ///   the shared loops have started, or were configured before. Then nothing has changed.
  public static func configureShared(
    count: Int = IOLoopGroup.defaultCount, configuration: IOLoop.Configuration
  ) throws(SocketError) {
    try sharedLoops.configure(count: count, configuration)
  }

  private static let sharedLoops = SharedLoops()
}

/// A group that starts on first use and can be configured before that.
final class SharedLoops: Sendable {
  private enum State {
    case untouched
    case configured(count: Int, IOLoop.Configuration)
    case started(IOLoopGroup)
  }

  private let state = Mutex(State.untouched)

  init() {}

  func configure(count: Int, _ configuration: IOLoop.Configuration) throws(SocketError) {
    try IOLoopGroup.check(count)
    try configuration.validate()
    try state.withLock { (state) throws(SocketError) in
      guard case .untouched = state else {
        let isStarted = if case .started = state { true } else { false }
        throw SocketError(
          .invalidConfiguration, .startLoop,
          detail: "the shared loops \(isStarted ? "have started" : "were configured before")")
      }
      state = .configured(count: count, configuration)
    }
  }

  func group() throws(SocketError) -> IOLoopGroup {
    try state.withLock { (state) throws(SocketError) in
      if case .started(let group) = state { return group }
      return try Self.start(&state, withMainThread: false)
    }
  }

  /// Starts the group; returns nil if it has already started.
  func groupWithMainThread() throws(SocketError) -> IOLoopGroup? {
    try state.withLock { (state) throws(SocketError) in
      if case .started = state { return nil }
      return try Self.start(&state, withMainThread: true)
    }
  }

  private static func start(
    _ state: inout State, withMainThread: Bool
  ) throws(SocketError) -> IOLoopGroup {
    var (count, configuration) = (IOLoopGroup.defaultCount, IOLoop.Configuration())
    if case .configured(let ownCount, let own) = state { (count, configuration) = (ownCount, own) }
    let group = try IOLoopGroup(
      count: count, configuration: configuration, withMainThread: withMainThread)
    state = .started(group)
    return group
  }
}
