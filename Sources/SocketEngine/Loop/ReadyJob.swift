// SPDX-License-Identifier: Apache-2.0
/// Which executor a job believes to run on. The loop is one thread with two faces: the serial
/// executor of the actors bound to it, and the task executor of the tasks that prefer it. The
/// runtime compares these states, not threads, to tell whether it must switch.
enum ExecutorState: Sendable {
  /// On the loop's serial executor: isolated to its actors.
  case serial
  /// The same, in a task that prefers the loop.
  case serialPreferring
  /// On no actor, in a task that prefers the loop.
  case task
}

/// A job to run on the loop's thread, and the state to run it in.
struct ReadyJob {
  let job: UnownedJob
  let state: ExecutorState
}
