// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import DequeModule
internal import Synchronization

/// Makes loops the executor of tasks without an executor preference. A job stays on the loop that
/// it was enqueued from; jobs from other threads are distributed in turn.
///
/// A loop runs its jobs one after the other. To keep a long job from delaying the others, a thread
/// checks all loops every millisecond. If a loop still runs the job of the last check, half of its
/// waiting jobs move to the loop with the fewest. Sockets, and the tasks that wait for them, stay
/// on their loop. The thread sleeps after a period in which no loop had a job.
package final class JobBalancer: Sendable {
  private let loops: [IOLoop]
  private let queues: [UnboundJobs]
  private let alarm: BalancerAlarm
  private let ticket = Atomic(0)

  /// - Precondition: the loops live as long as the process.
  package init(_ group: IOLoopGroup) throws(SocketError) {
    let alarm = try BalancerAlarm()
    self.alarm = alarm
    loops = group.loops
    queues = loops.map { _ in UnboundJobs(alarm: alarm) }
    for (loop, queue) in zip(loops, queues) { loop.core.shareJobs(queue) }
    // SAFETY: the new thread takes over this reference and never ends.
    let context = unsafe Unmanaged.passRetained(self)
    let status = unsafe cms_thread_start(
      { unsafe Unmanaged<JobBalancer>.fromOpaque($0!).takeUnretainedValue().watch() },
      context.toOpaque(), "job-balancer")
    guard status == 0 else {
      unsafe context.release()
      throw SocketError(result: status, .startLoop)
    }
  }

  /// Runs a job on the calling thread's loop if there is one, otherwise on the next loop.
  package func enqueue(_ job: UnownedJob) {
    if let core = LoopCore.onThisThread, core.sharesJobs {
      core.enqueueUnbound(job)
    } else {
      deal(job)
    }
  }

  /// Runs a job after `delay`, on the calling thread's loop if there is one, otherwise on the next
  /// loop.
  package func enqueue(_ job: UnownedJob, after delay: Duration) {
    let deadline = LoopTime(after: max(delay, .zero))
    if let core = LoopCore.onThisThread, core.sharesJobs {
      core.addTimer(job, deadline: deadline)
    } else {
      loops[nextIndex()].core.inbox.send(.schedule(job, deadline))
    }
  }

  private func deal(_ job: UnownedJob) {
    let first = nextIndex()
    let free = loops.indices.first { !queues[(first + $0) % loops.count].isHeldUp } ?? 0
    give([job], to: (first + free) % loops.count)
  }

  private func nextIndex() -> Int {
    Int(UInt(bitPattern: ticket.wrappingAdd(1, ordering: .relaxed).oldValue) % UInt(loops.count))
  }

  private func give(_ jobs: [UnownedJob], to index: Int) {
    for job in jobs { queues[index].add(job) }
    loops[index].core.inbox.send(.look(jobs.count))
  }

  // MARK: The balancer's thread

  /// How many checks in a row must find no job before the thread sleeps.
  private static let looksUntilSleep = 100

  private func watch() {
    var last = [UInt64](repeating: 0, count: loops.count)
    while true {
      var looks = 0
      while looks < Self.looksUntilSleep {
        cms_sleep(1)
        looks = look(&last) ? 0 : looks + 1
      }
      alarm.sleep(unless: { queues.contains { $0.count > 0 } })
    }
  }

  /// Returns whether any loop runs a job or has one waiting.
  private func look(_ last: inout [UInt64]) -> Bool {
    var isBusy = false
    for (index, queue) in queues.enumerated() {
      let running = queue.runningJob
      queue.isHeldUp = running != 0 && running == last[index]
      last[index] = running
      if running != 0 || queue.count > 0 { isBusy = true }
    }
    for queue in queues where queue.isHeldUp && queue.count > 0 { relieve(queue) }
    return isBusy
  }

  private func relieve(_ queue: UnboundJobs) {
    let free = queues.indices.filter { !queues[$0].isHeldUp }
    guard let target = free.min(by: { queues[$0].count < queues[$1].count }) else { return }
    var jobs: [UnownedJob] = []
    let half = (queue.count + 1) / 2
    while jobs.count < half, let job = queue.take() { jobs.append(job) }
    if !jobs.isEmpty { give(jobs, to: target) }
  }
}

/// Wakes the balancer's thread when there are jobs again.
@safe
final class BalancerAlarm: Sendable {
  private let isAsleep = Atomic(false)
  /// SAFETY: a semaphore, created here and destroyed with this object.
  private nonisolated(unsafe) let gate: OpaquePointer

  init() throws(SocketError) {
    guard let gate = unsafe cms_gate_create() else { throw SocketError(.outOfMemory, .startLoop) }
    unsafe self.gate = gate
  }

  deinit { unsafe cms_gate_destroy(gate) }

  /// Call after adding a job.
  func ring() {
    guard isAsleep.load(ordering: .sequentiallyConsistent),
      isAsleep.exchange(false, ordering: .sequentiallyConsistent)
    else { return }
    unsafe cms_gate_open(gate)
  }

  /// Sleeps until ``ring()``, unless there are jobs: a job that was added before `isAsleep` was set
  /// did not ring.
  func sleep(unless hasJobs: () -> Bool) {
    isAsleep.store(true, ordering: .sequentiallyConsistent)
    if hasJobs(), isAsleep.exchange(false, ordering: .sequentiallyConsistent) { return }
    unsafe cms_gate_wait(gate)
  }
}

/// The jobs on one loop that any loop may run: jobs of tasks without an executor preference, where
/// the loops are the process's default executor.
///
/// The loop adds and takes jobs in its turns. Other threads may add jobs, and may take jobs away
/// when a long job delays the loop.
final class UnboundJobs: Sendable {
  private let jobs = TSanVisibleMutex(Deque<UnownedJob>())
  private let waiting = Atomic(0)
  private let alarm: BalancerAlarm
  /// The number of the job that the loop runs; 0 while it runs none.
  private let running = Atomic<UInt64>(0)
  /// Whether the loop has been running one job since the balancer's last check.
  private let heldUp = Atomic(false)

  init(alarm: BalancerAlarm) { self.alarm = alarm }

  var count: Int { waiting.load(ordering: .sequentiallyConsistent) }

  func add(_ job: UnownedJob) {
    jobs.withLock { $0.append(job) }
    waiting.add(1, ordering: .sequentiallyConsistent)
    alarm.ring()
  }

  func take() -> UnownedJob? {
    guard waiting.load(ordering: .relaxed) > 0, let job = jobs.withLock({ $0.popFirst() }) else {
      return nil
    }
    waiting.subtract(1, ordering: .relaxed)
    return job
  }

  func noteRunning(_ number: UInt64) { running.store(number, ordering: .relaxed) }
  var runningJob: UInt64 { running.load(ordering: .relaxed) }

  var isHeldUp: Bool {
    get { heldUp.load(ordering: .relaxed) }
    set { heldUp.store(newValue, ordering: .relaxed) }
  }
}
