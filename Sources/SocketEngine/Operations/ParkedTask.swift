// SPDX-License-Identifier: Apache-2.0
/// The task that awaits an operation, as the operation's slot keeps it: whoever comes first, the
/// task or the outcome, waits for the other.
struct ParkedTask: Sendable {
  private enum State {
    /// No task waits, or not yet.
    case none
    /// Waiting for the outcome.
    case waiting(UnownedJob)
    /// The outcome came before the task.
    case outcomeFirst
  }

  private var state = State.none
  /// The executor state in which the task will go on; noted just before it parks.
  var returnState = ExecutorState.serial

  init() {}

  /// The task has been suspended. Returns it if it may go on at once.
  mutating func park(_ job: UnownedJob) -> ReadyJob? {
    switch state {
    case .none:
      state = .waiting(job)
      return nil
    case .outcomeFirst: return ReadyJob(job: job, state: returnState)
    case .waiting: preconditionFailure("Two tasks await one operation")
    }
  }

  /// The operation is done. Returns the task that may go on.
  mutating func resume() -> ReadyJob? {
    switch state {
    case .none:
      state = .outcomeFirst
      return nil
    case .waiting(let job): return ReadyJob(job: job, state: returnState)
    case .outcomeFirst: preconditionFailure("An operation was finished twice")
    }
  }

  /// The turn is over and the operation is not done: a task that parked for the turn only may look
  /// at that, and park again.
  mutating func resumeForTurn() -> ReadyJob? {
    guard case .waiting(let job) = state else { return nil }
    state = .none
    return ReadyJob(job: job, state: returnState)
  }
}
