// SPDX-License-Identifier: Apache-2.0
/// A place to visit the loop's thread from elsewhere. Whoever awaits holds the loop, and so the
/// executor.
actor LoopVisitor {
  private let core: LoopCore

  init(core: LoopCore) { self.core = core }

  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe core.unownedSerialExecutor }

  var statistics: IOLoop.Statistics { core.currentStatistics }
  var operationsInKernel: Int { core.operationsInKernel }
  var operationsInUse: Int { core.operations.inUse }

  func wait(for operation: Operation) async { await operation.wait() }

  /// Returns when nothing of the loop's is left in the kernel.
  func shutdown() async {
    if let ended = core.startShutdown() { _ = await ended.endedIgnoringCancellation() }
  }

  func sleep(for duration: Duration) async throws { try await core.sleep(for: duration) }
}
