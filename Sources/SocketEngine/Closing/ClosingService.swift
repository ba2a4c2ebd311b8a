// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import Synchronization
internal import SystemPackage

/// The threads of the process that close descriptors from peers, because close(2) may wait for what
/// is behind a descriptor: the server of a FUSE file, a lingering socket, a network file system.
/// (Docs/Decisions/0014)
/// ```
/// queues ──next──▶ workers ──▶ close(2)
///           ▲
///         watch: starts a worker when nothing gets closed although something could be
/// ```
/// Handing descriptors over costs a lock, and a wake-up if a thread is asleep. Only the watch
/// starts workers; it is started with the first descriptor and never ends. If it cannot be started,
/// descriptors stay in their queues, which are bounded, and loops try again in their turns: a loop
/// never closes such descriptors itself.
package final class ClosingService: Sendable {
  package static let shared = ClosingService()

  /// The maximum number of threads. Each descriptor whose close(2) blocks occupies one.
  package static let maximumThreads = 64

  private enum Watch { case missing, starting, asleep, awake }

  private struct State {
    var plan = ClosingPlan(maximumThreads: ClosingService.maximumThreads)
    var workers = 0
    /// Workers that wait for something to do, and how many of them have been woken but have not
    /// noticed yet.
    var idle = 0
    var woken = 0
    var watch = Watch.missing
    /// The earliest time to try again to start a thread.
    var nextStart = LoopTime(after: .zero)
    /// How many descriptors have been closed.
    var closed: UInt64 = 0

    /// Decides which thread to wake or start for work that no thread has taken yet.
    mutating func wakeSomebody() -> WakeUp {
      guard plan.hasWork else { return .nobody }
      if idle > woken {
        woken += 1
        return .worker
      }
      switch watch {
      case .starting, .awake: return .nobody
      case .asleep:
        watch = .awake
        return .watch
      case .missing:
        let now = LoopTime.now
        guard nextStart <= now else { return .nobody }
        nextStart = LoopTime(after: ClosingService.startInterval, from: now)
        watch = .starting
        return .startWatch
      }
    }

    /// Decides what the watch does next.
    ///
    /// - Parameter seen: the value of `closed` when the watch last looked.
    mutating func watchStep(after seen: UInt64?) -> WatchStep {
      guard plan.hasWork else {
        watch = .asleep
        return .sleep
      }
      if idle > woken {
        woken += 1
        return .wakeWorker
      }
      // The existing workers make progress.
      if workers > 0, seen != closed { return .pause }
      workers += 1
      return .startWorker
    }
  }

  private enum WatchStep { case sleep, pause, wakeWorker, startWorker }
  private enum WakeUp { case nobody, worker, watch, startWatch }

  private let state = TSanVisibleMutex(State())
  private let unclosed = Atomic(0)
  private let lacksWatch = Atomic(false)
  private let started = Atomic(0)
  private let workerGate = Gate()
  private let watchGate = Gate()

  /// How long a worker waits for something to do before it ends.
  private static let idleMilliseconds: UInt32 = 5000
  /// How long the watch waits for something to get closed before it starts another worker.
  private static let patienceMilliseconds: UInt32 = 5
  /// How long to wait before trying again to start a thread, after a failure.
  static let startInterval = Duration.milliseconds(100)

  private init() {}

  /// How many descriptors of the process have not been closed yet.
  package var count: Int { unclosed.load(ordering: .acquiring) }

  /// How many descriptors are being closed at the moment.
  package var beingClosed: Int { state.withLock { $0.plan.beingClosed } }

  /// How many threads it has started so far.
  package var threadsStarted: Int { started.load(ordering: .relaxed) }

  func add(_ descriptors: inout OwnedFds, to queue: ClosingQueue) {
    if descriptors.isEmpty { return }
    noteAdded(descriptors.count, to: queue)
    let wakeUp = state.withLock { state in
      while let descriptor = descriptors.takeFirst() {
        state.plan.add(
          ClosingPlan.Entry(number: descriptor.release().rawValue, whenClosed: nil), to: queue)
      }
      return state.wakeSomebody()
    }
    perform(wakeUp)
  }

  func add(
    _ descriptor: consuming OwnedFd, to queue: ClosingQueue, whenClosed: (@Sendable () -> Void)?
  ) {
    noteAdded(1, to: queue)
    let entry = ClosingPlan.Entry(number: descriptor.release().rawValue, whenClosed: whenClosed)
    let wakeUp = state.withLock { state in
      state.plan.add(entry, to: queue)
      return state.wakeSomebody()
    }
    perform(wakeUp)
  }

  private func noteAdded(_ count: Int, to queue: ClosingQueue) {
    queue.noteAdded(count)
    unclosed.add(count, ordering: .acquiringAndReleasing)
  }

  /// For a loop that is about to sleep: starts the watch if that was not possible before. Returns
  /// whether the loop must ask again soon.
  func mustBeAskedAgain() -> Bool {
    guard lacksWatch.load(ordering: .relaxed) else { return false }
    perform(state.withLock { $0.wakeSomebody() })
    return lacksWatch.load(ordering: .relaxed)
  }

  private func perform(_ wakeUp: WakeUp) {
    switch wakeUp {
    case .nobody: break
    case .worker: workerGate.open()
    case .watch: watchGate.open()
    case .startWatch:
      if startThread("closing-watch", { $0.watch() }) { return }
      state.withLock {
        $0.watch = .missing
        lacksWatch.store(true, ordering: .relaxed)
      }
    }
  }

  private func startThread(_ name: String, _ body: @escaping @Sendable (ClosingService) -> Void)
    -> Bool
  {
    final class Start: Sendable {
      let run: @Sendable () -> Void
      init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
    // SAFETY: the new thread takes over this reference and releases it; if no thread starts, it is
    // released here.
    let context = unsafe Unmanaged.passRetained(Start { body(self) })
    let status = unsafe cms_thread_start(
      { unsafe Unmanaged<Start>.fromOpaque($0!).takeRetainedValue().run() }, context.toOpaque(),
      name)
    guard status == 0 else {
      unsafe context.release()
      return false
    }
    started.add(1, ordering: .relaxed)
    return true
  }

  // MARK: The watch

  private func watch() {
    becomeWatch()
    var seen: UInt64?
    while true {
      let (step, closed) = state.withLock { ($0.watchStep(after: seen), $0.closed) }
      seen = closed
      switch step {
      case .sleep: watchGate.wait()
      case .pause: cms_sleep(Self.patienceMilliseconds)
      case .wakeWorker: workerGate.open()
      case .startWorker:
        if startThread("closing", { $0.work() }) {
          cms_sleep(Self.patienceMilliseconds)
        } else if !workForNow() {
          return
        }
      }
    }
  }

  private func becomeWatch() {
    state.withLock {
      $0.watch = .awake
      lacksWatch.store(false, ordering: .relaxed)
    }
  }

  /// Called when a worker is needed and cannot be started: the watch closes the pending
  /// descriptors itself, and another watch is started when that is possible. Returns whether this
  /// thread continues as the watch.
  private func workForNow() -> Bool {
    state.withLock {
      $0.watch = .missing
      $0.nextStart = LoopTime(after: Self.startInterval)
      lacksWatch.store(true, ordering: .relaxed)
    }
    var finished: ClosingPlan.Step?
    while let step = takeStep(after: &finished) { close(step, noting: &finished) }
    let isMissing = state.withLock { state in
      state.workers -= 1
      defer { if state.watch == .missing { state.watch = .starting } }
      return state.watch == .missing
    }
    if isMissing { becomeWatch() }
    return isMissing
  }

  // MARK: Workers

  private func work() {
    var finished: ClosingPlan.Step?
    while true {
      if let step = takeStep(after: &finished, orBecomeIdle: true) {
        close(step, noting: &finished)
      } else if !waitForWork() {
        return
      }
    }
  }

  /// Records what was closed before, and returns the next step; nil if there is none.
  private func takeStep(after finished: inout ClosingPlan.Step?, orBecomeIdle: Bool = false)
    -> ClosingPlan.Step?
  {
    let last = finished.take()
    let (step, wakeUp) = state.withLock { state in
      if let last {
        state.plan.finish(last)
        state.closed &+= 1
      }
      guard let step = state.plan.next() else {
        if orBecomeIdle { state.idle += 1 }
        return (nil, WakeUp.nobody) as (ClosingPlan.Step?, WakeUp)
      }
      // Closing this one may block, so another thread looks after the rest.
      return (step, state.wakeSomebody())
    }
    perform(wakeUp)
    return step
  }

  private func close(_ step: ClosingPlan.Step, noting finished: inout ClosingPlan.Step?) {
    // The entry has owned the descriptor; closing it here ends that ownership.
    let descriptor = OwnedFd(adopting: FileDescriptor(rawValue: step.entry.number))
    _ = consume descriptor
    step.queue.noteClosed()
    unclosed.subtract(1, ordering: .acquiringAndReleasing)
    step.entry.whenClosed?()
    finished = step
  }

  /// Waits for work. Returns false if none came for a long time and the worker must end.
  private func waitForWork() -> Bool {
    if !workerGate.wait(milliseconds: Self.idleMilliseconds) {
      let ends = state.withLock { state in
        // Each worker that was woken finds the gate open.
        guard state.idle > state.woken else { return false }
        state.idle -= 1
        state.workers -= 1
        return true
      }
      if ends { return false }
      workerGate.wait()
    }
    state.withLock {
      $0.idle -= 1
      $0.woken -= 1
    }
    return true
  }
}

/// A counting gate between threads. `@unchecked Sendable`: a semaphore is made for that. Never
/// freed in practice: the service lives as long as the process.
@safe
private final class Gate: @unchecked Sendable {
  private let gate: OpaquePointer

  init() {
    guard let gate = unsafe cms_gate_create() else { fatalError("No memory for a semaphore") }
    unsafe self.gate = gate
  }

  deinit { unsafe cms_gate_destroy(gate) }

  func open() { unsafe cms_gate_open(gate) }
  func wait() { unsafe cms_gate_wait(gate) }
  /// Returns false if the time ran out.
  func wait(milliseconds: UInt32) -> Bool { unsafe cms_gate_wait_for(gate, milliseconds) }
}

extension ClosingQueue {
  /// For sockets that belong to no listener.
  package static let alone = ClosingQueue()
  /// For descriptors that the program has taken.
  package static let program = ClosingQueue()

  /// Takes all of `descriptors` and returns immediately.
  package func close(_ descriptors: inout OwnedFds) {
    ClosingService.shared.add(&descriptors, to: self)
  }

  /// Takes one descriptor. The thread that has closed it calls `whenClosed`.
  package func close(_ descriptor: consuming OwnedFd, whenClosed: (@Sendable () -> Void)? = nil) {
    ClosingService.shared.add(descriptor, to: self, whenClosed: whenClosed)
  }
}

/// How many descriptors may wait to be closed. The bounds are fractions of the soft
/// `RLIMIT_NOFILE`, read at each call, so that peers cannot use up the remaining descriptors.
package enum ClosingLimits {
  /// Of one peer's messages, before its receives throw.
  package static func forPeer(of limit: Int) -> Int { bound(limit / 4, 1024) }
  /// The bound for a listener's connections that have ended; beyond it the listener accepts no
  /// more.
  package static func forConnections(of limit: Int) -> Int { bound(limit / 8, 1024) }
  /// The bound for connections that a listener has refused; beyond it the listener accepts no more.
  package static func forRefused(of limit: Int) -> Int { bound(limit / 8, 64) }
  /// The bound for the whole process.
  package static func forProcess(of limit: Int) -> Int { max(1, limit / 2) }

  private static func bound(_ part: Int, _ maximum: Int) -> Int { min(max(1, part), maximum) }

  /// Whether a queue of `count` descriptors must not grow. No queue may hold more than it leaves of
  /// the process's share for the others.
  static func isFull(_ count: Int, bound: Int, total: Int, limit: Int) -> Bool {
    count >= min(bound, max(0, forProcess(of: limit) - total))
  }

  package static var descriptorLimit: Int { Int(clamping: cms_descriptor_limit()) }
}

extension ClosingQueue {
  /// Whether the queue is so full that its peer must be kept from sending more.
  package func isFull(bound: (_ descriptorLimit: Int) -> Int) -> Bool {
    let total = ClosingService.shared.count
    // This is almost always the case, and needs no system call.
    if total == 0 { return false }
    let limit = ClosingLimits.descriptorLimit
    return ClosingLimits.isFull(count, bound: bound(limit), total: total, limit: limit)
  }
}

extension OwnedFd {
  /// Closes the descriptor on another thread and returns immediately. Use it for descriptors from
  /// peers that are not trusted, because close(2) on one may block, and with it a loop's thread.
  /// Errors are ignored.
  public consuming func closeInBackground() { ClosingQueue.program.close(self) }
}

extension OwnedFds {
  /// Closes all remaining descriptors on another thread and returns immediately; see
  /// ``OwnedFd/closeInBackground()``.
  public consuming func closeInBackground() { ClosingQueue.program.close(&self) }
}
