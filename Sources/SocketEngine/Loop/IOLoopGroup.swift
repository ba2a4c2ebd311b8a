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
  public init(
    count: Int = IOLoopGroup.defaultCount,
    configuration: IOLoop.Configuration = IOLoop.Configuration()
  ) throws(SocketError) {
    guard count > 0 else {
      throw SocketError(
        .invalidConfiguration, .startLoop, detail: "a group of \(count) loops; it has at least one")
    }
    var loops: [IOLoop] = []
    for index in 0..<count {
      var configuration = configuration
      configuration.name += "-\(index)"
      loops.append(try IOLoop(configuration))
    }
    self.loops = loops
  }

  /// One for each processor that the process may use.
  public static var defaultCount: Int { max(1, Int(cms_usable_processors())) }

  /// The next loop, in turn. May be called from any thread.
  public func next() -> IOLoop {
    let ticket = turn.wrappingAdd(1, ordering: .relaxed).oldValue
    return loops[Int(UInt(bitPattern: ticket) % UInt(loops.count))]
  }

  /// Shuts all loops down. See ``IOLoop/shutdown()``.
  public func shutdown() async {
    await withTaskGroup(of: Void.self) { group in
      for loop in loops { group.addTask { await loop.shutdown() } }
    }
  }

  /// The group of the process for sockets made without naming a loop; started on first use, with
  /// default configuration.
  ///
  /// It lives as long as the process; nothing has to be done at the end. Do not shut it down, but
  /// in the last lines of a program: it does not start again, and what is used of its sockets then
  /// throws `loopShutDown`. For loops with an end, make a group of your own.
  ///
  /// - Throws: ``SocketError`` as ``init(count:configuration:)`` does; then a later call tries
  ///   again.
  public static func shared() throws(SocketError) -> IOLoopGroup {
    try sharedGroup.withLock { (group) throws(SocketError) in
      if let group { return group }
      let started = try IOLoopGroup()
      group = started
      return started
    }
  }

  private static let sharedGroup = Mutex<IOLoopGroup?>(nil)
}
