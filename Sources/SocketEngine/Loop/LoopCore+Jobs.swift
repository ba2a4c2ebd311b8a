// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import DequeModule

extension LoopCore {
  func runReadyJobs() {
    state.value.submissionsWithinTurn = Self.maximumSubmissionsWithinTurn
    if state.value.ready.isEmpty, !hasUnboundJobs { return }
    let start = LoopTime.coarse
    // The budget ensures that jobs that keep enqueuing jobs cannot starve completions.
    var budget = configuration.jobsPerTurn
    while budget > 0, let job = nextJob(isEven: budget & 1 == 0) {
      budget -= 1
      unbound?.noteRunning(statistics.jobs &+ 1)
      run(job)
    }
    unbound?.noteRunning(0)
    if LoopTime.coarse.nanoseconds - start.nanoseconds > Self.longTurn { statistics.longTurns += 1 }
  }

  private static let longTurn: Int64 = 10_000_000

  /// Alternates between the two kinds of jobs.
  private func nextJob(isEven: Bool) -> ReadyJob? {
    guard let unbound else { return state.value.ready.popFirst() }
    if isEven, let job = unbound.take() { return ReadyJob(job: job, state: .unbound) }
    return state.value.ready.popFirst() ?? unbound.take().map { ReadyJob(job: $0, state: .unbound) }
  }

  private func run(_ ready: ReadyJob) {
    state.value.currentState = ready.state
    statistics.jobs += 1
    // SAFETY: both executors outlive the thread's work, because the enqueuing code holds one of
    // them.
    switch ready.state {
    case .serial: unsafe ready.job.runSynchronously(on: state.value.serialExecutor!)
    case .serialPreferring:
      unsafe ready.job.runSynchronously(
        isolatedTo: state.value.serialExecutor!, taskExecutor: state.value.taskExecutor!)
    case .task: unsafe ready.job.runSynchronously(on: state.value.taskExecutor!)
    case .unbound: unsafe ready.job.runSynchronously(on: Self.noExecutor)
    case .main: unsafe ready.job.runSynchronously(on: state.value.mainExecutor!)
    }
  }

  func enqueueLocally(_ job: ReadyJob) {
    statistics.localEnqueues += 1
    makeReady(job)
  }

  /// The runtime's representation of "no executor", which jobs of tasks without a preference run
  /// on. SAFETY: two words, of which the first points to the executor's object; null means that
  /// there is none.
  private static var noExecutor: UnownedSerialExecutor {
    unsafe unsafeBitCast((UInt(0), UInt(0)), to: UnownedSerialExecutor.self)
  }

  /// Records that the calling thread, which has opened the loop, is the thread that runs it.
  func claimThread() {
    // SAFETY: from now on the thread holds the core, in `run()` or through the main thread's loop.
    unsafe cms_set_loop_of_thread(Unmanaged.passUnretained(self).toOpaque())
  }

  /// The core of the loop that the calling thread runs.
  static var onThisThread: LoopCore? {
    // SAFETY: the thread holds the core as long as it runs the loop.
    unsafe cms_loop_of_thread().map {
      unsafe Unmanaged<LoopCore>.fromOpaque($0).takeUnretainedValue()
    }
  }

  /// Makes this loop run jobs of the shared queue from now on. Callable from any thread.
  func shareJobs(_ jobs: UnboundJobs) {
    if isCurrent { unbound = jobs } else { inbox.send(.shareJobs(jobs)) }
  }

  var sharesJobs: Bool { unbound != nil }

  var hasUnboundJobs: Bool { unbound.map { $0.count > 0 } ?? false }

  /// Adds a job for this loop, or for a loop that takes it away.
  func enqueueUnbound(_ job: UnownedJob) {
    statistics.localEnqueues += 1
    unbound!.add(job)
  }

  /// Sets the main actor's executor; for the loop of the main thread.
  func bindMain(_ executor: UnownedSerialExecutor) { unsafe state.value.mainExecutor = executor }
}
