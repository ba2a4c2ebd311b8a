// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

// How a task waits for an operation that it has started. On the loop's thread, in the caller's
// isolation, which it does not leave. The caller holds the operation's loop, by its channel or
// otherwise.

extension Operation {
  /// Waits until the operation has ended. If the task is cancelled meanwhile the operation is
  /// stopped, and awaited all the same: nothing of it is left in the kernel when this returns.
  @inline(__always)
  nonisolated(nonsending) func ended() async -> EndedOperation {
    if mayWait {
      if expectsToEndInThisTurn { await waitForTurn() } else { await wait() }
    }
    return EndedOperation(self)
  }

  /// Whether it is a receive on a socket whose last messages each came in the turn in which they
  /// were asked for.
  private var expectsToEndInThisTurn: Bool {
    switch request {
    case .receive, .waitForMessage: withSocket { $0.answersInTurn.isLikely } ?? false
    default: false
    }
  }

  /// Waits with a cancellation handler, however long.
  @inline(__always)
  nonisolated(nonsending) func wait() async {
    willPark()
    // SAFETY: removed below, before the slot is recycled; nothing in between registers another
    // handler.
    let registration = unsafe addCancellationHandler()
    let hasEnded = await parking.hasEnded()
    unsafe cms_task_remove_cancellation_handler(registration)
    precondition(hasEnded)
  }

  /// Whether it is to be waited for. A message that was received ahead has ended already; a request
  /// that probably need not wait may be submitted for itself, and end at once.
  private var mayWait: Bool {
    if life.state == .done { return false }
    return expectsToWait || !withCore { $0.finishesAtOnce(self) }
  }

  /// Whether it is a receive that probably comes before its message, or something else that takes
  /// its time.
  private var expectsToWait: Bool {
    guard case .receive = request else { return true }
    return withSocket { $0.wasEmptied } ?? true
  }

  /// The same for an operation that hardly ever waits, as a send: without a cancellation handler
  /// for as long as the enter that submits it, and with one only if it is not done then.
  @inline(__always)
  nonisolated(nonsending) func endedSoon() async -> EndedOperation {
    if !withCore({ $0.finishesAtOnce(self) }) { await waitForTurn() }
    return EndedOperation(self)
  }

  @inline(__always)
  private nonisolated(nonsending) func waitForTurn() async {
    willPark()
    withCore { $0.resumeAfterTurn(self) }
    if await !parking.hasEnded() { await waitLong() }
  }

  private nonisolated(nonsending) func waitLong() async {
    // A task that came to the loop's thread without preferring it (`Task.immediate`, a default
    // actor) has gone back to its own executor by now.
    if core.isCurrent { return await wait() }
    await LoopVisitor(core: core).wait(for: self)
  }

  /// Waits for an operation that cannot be stopped.
  nonisolated(nonsending) func endedIgnoringCancellation() async -> EndedOperation {
    willPark()
    let hasEnded = await parking.hasEnded()
    precondition(hasEnded)
    return EndedOperation(self)
  }

  private func willPark() { withCore { willPark(returningTo: $0.returnState()) } }
}
