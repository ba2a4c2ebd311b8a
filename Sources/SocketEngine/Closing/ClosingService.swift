// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import Synchronization
internal import SystemPackage

/// The threads of the process that close what peers have sent, because close(2) may wait for
/// whatever is behind a descriptor: the server of a FUSE file, a socket that lingers, a network
/// file system. (Docs/Decisions/0014)
/// ```
/// queues ──next──▶ workers ──▶ close(2)
///           ▲
///         watch: starts a worker when nothing gets closed although something could be
/// ```
/// Handing descriptors over costs a lock, and where a thread sleeps, waking it. Only the watch
/// starts workers; it is started with the first descriptor, and stays. If it cannot be started,
/// descriptors stay in their queues, which are bounded, and loops try again in their turns: they
/// never close such descriptors themselves.
package final class ClosingService: Sendable {
  package static let shared = ClosingService()

  /// Descriptors that cannot be closed hold up a thread each, and no more than these.
  package static let maximumThreads = 64

  private enum Watch { case missing, starting, asleep, awake }

  private struct State {
    var plan = ClosingPlan(maximumThreads: ClosingService.maximumThreads)
    var workers = 0
    /// Workers that wait for something to do, and how many of them have been woken and have not
    /// noticed yet.
    var idle = 0
    var woken = 0
    var watch = Watch.missing
    /// When a thread may be asked for again.
    var nextStart = LoopTime(after: .zero)
    /// Counts what has been closed.
    var closed: UInt64 = 0

    /// What to do about work that nobody looks at yet.
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

    /// What the watch does next.
    ///
    /// - Parameter seen: what had been closed when it looked last.
    mutating func watchStep(after seen: UInt64?) -> WatchStep {
      guard plan.hasWork else {
        watch = .asleep
        return .sleep
      }
      if idle > woken {
        woken += 1
        return .wakeWorker
      }
      // Those that are there get on.
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
  /// How long to wait before a thread is asked for again that could not be had.
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

  /// For a loop that is about to sleep: starts the watch if that could not be done before. Whether
  /// to come back soon.
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
    // SAFETY: the new thread takes this reference over and releases it; if there is none, it is
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

  /// No thread is left: the watch closes what there is itself, and another one is started when that
  /// can be done. Whether it is to watch again.
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

  /// The next step; nil if there is none. What has been closed before is noted on the way.
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
      // This one may be held up: others look after the rest.
      return (step, state.wakeSomebody())
    }
    perform(wakeUp)
    return step
  }

  private func close(_ step: ClosingPlan.Step, noting finished: inout ClosingPlan.Step?) {
    // The entry has owned it; here it ends.
    let descriptor = OwnedFd(adopting: FileDescriptor(rawValue: step.entry.number))
    _ = consume descriptor
    step.queue.noteClosed()
    unclosed.subtract(1, ordering: .acquiringAndReleasing)
    step.entry.whenClosed?()
    finished = step
  }

  /// False if nothing came for long: then the worker is to end.
  private func waitForWork() -> Bool {
    if !workerGate.wait(milliseconds: Self.idleMilliseconds) {
      let ends = state.withLock { state in
        // Each of those that were woken finds the gate open.
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
/// freed: the service is the process's.
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
  /// False if the time ran out.
  func wait(milliseconds: UInt32) -> Bool { unsafe cms_gate_wait_for(gate, milliseconds) }
}

extension ClosingQueue {
  /// For sockets that belong to no listener.
  package static let alone = ClosingQueue()
  /// For what the program has taken.
  package static let program = ClosingQueue()

  /// Takes all of `descriptors`, and returns at once.
  package func close(_ descriptors: inout OwnedFds) {
    ClosingService.shared.add(&descriptors, to: self)
  }

  /// Takes one. `whenClosed` is called by the thread that has closed it.
  package func close(_ descriptor: consuming OwnedFd, whenClosed: (@Sendable () -> Void)? = nil) {
    ClosingService.shared.add(descriptor, to: self, whenClosed: whenClosed)
  }
}

/// How many descriptors may wait to be closed: parts of what the process may have open (the soft
/// `RLIMIT_NOFILE`, as it stands when it is asked), so that peers cannot use up the rest.
package enum ClosingLimits {
  /// Of one peer's messages, before its receives throw.
  package static func forPeer(of limit: Int) -> Int { bound(limit / 4, 1024) }
  /// Connections of a listener that have ended, before it accepts no more.
  package static func forConnections(of limit: Int) -> Int { bound(limit / 8, 1024) }
  /// Connections that a listener has refused, before it accepts no more.
  package static func forRefused(of limit: Int) -> Int { bound(limit / 8, 64) }
  /// Of the whole process.
  package static func forProcess(of limit: Int) -> Int { max(1, limit / 2) }

  private static func bound(_ part: Int, _ maximum: Int) -> Int { min(max(1, part), maximum) }

  /// Whether a queue of `count` descriptors is to get no more. None may have more than is then left
  /// of the process's share for the others.
  static func isFull(_ count: Int, bound: Int, total: Int, limit: Int) -> Bool {
    count >= min(bound, max(0, forProcess(of: limit) - total))
  }

  package static var descriptorLimit: Int { Int(clamping: cms_descriptor_limit()) }
}

extension ClosingQueue {
  /// Whether there are so many descriptors that its peer is to be kept from sending more.
  package func isFull(bound: (_ descriptorLimit: Int) -> Int) -> Bool {
    let total = ClosingService.shared.count
    // Almost always, and without a system call.
    if total == 0 { return false }
    let limit = ClosingLimits.descriptorLimit
    return ClosingLimits.isFull(count, bound: bound(limit), total: total, limit: limit)
  }
}

extension OwnedFd {
  /// Closes on another thread, and returns at once: for a descriptor of a peer that is not trusted,
  /// which close(2) may keep waiting, on a loop's thread. Errors are ignored.
  public consuming func closeInBackground() { ClosingQueue.program.close(self) }
}

extension OwnedFds {
  /// Closes all that are left on another thread, and returns at once; see
  /// ``OwnedFd/closeInBackground()``.
  public consuming func closeInBackground() { ClosingQueue.program.close(&self) }
}
