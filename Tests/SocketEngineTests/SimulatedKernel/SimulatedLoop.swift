// SPDX-License-Identifier: Apache-2.0
@testable import SocketEngine

/// A loop over a simulated kernel, on the calling thread: no other thread has a part in it, so that
/// the same decisions lead to the same course.
enum SimulatedLoop {
  /// Runs `body` on a new loop until it has ended and nothing refers to the loop any more. Returns
  /// what is left of the loop.
  static func run(
    _ configuration: IOLoop.Configuration, _ driver: any Driver,
    _ body: @escaping @Sendable (IOLoop) async -> Void
  ) throws -> LoopCore {
    let core = try begin(configuration, driver, body)
    core.run()
    return core
  }

  /// The loop ends, and ``LoopCore/run()`` returns, when nothing refers to it any more: only the
  /// task does.
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
