// SPDX-License-Identifier: Apache-2.0
/// The loop as a serial executor: what its socket actors, and actors of the user's that share their
/// loop, are isolated to.
final class LoopSerialExecutor: SerialExecutor {
  private let thread: LoopThread

  init(thread: LoopThread) { self.thread = thread }

  func enqueue(_ job: consuming ExecutorJob) { thread.enqueue(UnownedJob(job), state: .serial) }

  // `assumeIsolated` and `preconditionIsolated` hold on the loop's thread, whichever of the two
  // faces a job came through.
  func isIsolatingCurrentContext() -> Bool? { thread.isCurrent }
  func checkIsolated() { precondition(thread.isCurrent, "Not on the loop's thread") }
}

/// The loop as a task executor: what a task prefers, to run beside its sockets. A class of its own,
/// because the runtime tells the two faces apart by identity.
final class LoopTaskExecutor: TaskExecutor {
  private let thread: LoopThread

  init(thread: LoopThread) { self.thread = thread }

  func enqueue(_ job: consuming ExecutorJob) { thread.enqueue(UnownedJob(job), state: .task) }
}
