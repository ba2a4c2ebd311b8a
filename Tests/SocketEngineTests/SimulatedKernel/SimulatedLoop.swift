// SPDX-License-Identifier: Apache-2.0
@testable import SocketEngine

/// A loop on a simulated kernel, on the calling thread. No other thread takes part, so equal
/// decisions lead to equal sequences of events.
enum SimulatedLoop {
  /// Runs `body` on a new loop until it has ended and there is no reference to the loop. Returns
  /// what remains of the loop.
  static func run(
    _ configuration: IOLoop.Configuration, _ driver: any Driver,
    _ body: @escaping @Sendable (IOLoop) async -> Void
  ) throws -> LoopCore {
    let core = try begin(configuration, driver, body)
    core.run()
    return core
  }

  /// Starts `body`. Only its task refers to the loop, so ``LoopCore/run()`` returns when it ends.
  private static func begin(
    _ configuration: IOLoop.Configuration, _ driver: any Driver,
    _ body: @escaping @Sendable (IOLoop) async -> Void
  ) throws -> LoopCore {
    let thread = try LoopThread(configuration: configuration)
    let loop = IOLoop(thread: thread)
    thread.core.open(with: driver, .ioUring(IOLoop.Driver.Reason(.requested)))
    Task(executorPreference: loop.taskExecutor) { await body(loop) }
    return thread.core
  }
}
