/// A place to visit the loop's thread from elsewhere. Whoever awaits holds the loop, and so the executor.
actor LoopVisitor {
  private let core: LoopCore

  init(core: LoopCore) { self.core = core }

  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe core.unownedSerialExecutor }

  func outcome(of operation: Operation) async -> OperationOutcome { await core.outcome(of: operation) }
}
