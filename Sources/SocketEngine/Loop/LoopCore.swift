// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import DequeModule
internal import SystemPackage

/// All state that only the loop's thread touches: jobs, operations, timers, memory, the driver.
///
/// `@unchecked Sendable`: except for ``isCurrent`` and constants, every member is used only on the
/// loop's thread, which debug builds assert where operations are made and stopped. Other threads
/// use the ``Inbox``.
@safe
final class LoopCore: @unchecked Sendable {
  enum Phase {
    case running
    /// Everything has been cancelled; the ring closes when the last operation has ended.
    case draining
    /// An executor without a driver: operations fail immediately, jobs still run.
    case closed
  }

  let configuration: IOLoop.Configuration
  let inbox: Inbox
  @safe @exclusivity(unchecked) var driver: (any Driver)!
  /// The driver that ``open()`` has chosen, and why; constant after that.
  private(set) var driverInUse: IOLoop.Driver!
  /// Whether a receive gets its memory when it is submitted, as on a ring. The epoll driver
  /// acquires memory for each attempt.
  @safe @exclusivity(unchecked) private(set) var acquiresReceiveMemoryEarly = false
  @safe @exclusivity(unchecked) var submitsWithinTurn = false
  @safe @exclusivity(unchecked) var receivesStreamsAhead = false
  /// The driver's buffers; nil after the driver is closed.
  @safe @exclusivity(unchecked) var receiveBuffers: ReceiveBuffers?
  let state = LoopIsolated(State())
  let takenDescriptors = TakenDescriptorCounter()
  let openSockets = OpenSocketCounter()
  let controlBuffers: MemoryPool
  let payloadBuffers: MemoryPool

  /// Number of the current turn; wraps around.
  @safe @exclusivity(unchecked) private(set) var turnNumber: UInt32 = 0
  @safe @exclusivity(unchecked) var phase = Phase.running
  /// Events to signal when the loop has been shut down.
  var closers: [OperationID] = []
  /// The error with which the kernel permanently refused the loop's system call.
  @safe @exclusivity(unchecked) var failure: Errno?
  @safe @exclusivity(unchecked) private var arrivals: [Inbox.Item] = []
  @safe @exclusivity(unchecked) private var mustExit = false
  /// Set if the loop belongs to the process's default executor.
  @safe @exclusivity(unchecked) private var unbound: UnboundJobs?
  private let completions: UnsafeMutableBufferPointer<cms_completion>
  /// Written once, before the thread starts; readable from any thread.
  private var executorIdentity: UnownedSerialExecutor?
  /// Written once, by the loop's own thread, before another thread can read it.
  private var thread: UInt = 0

  /// State that every message uses.
  @safe
  struct State: ~Copyable {
    var operations = OperationTable()
    var timers = DeadlineHeap<TimerAction>()
    var ready: Deque<ReadyJob> = []
    var untilEndOfTurn: [OperationID] = []
    /// How many of the operations in `untilEndOfTurn` have not ended.
    var waitingForTurn = 0
    var hasSendsUntilEndOfTurn = false
    var statistics = IOLoop.Statistics()
    /// The executor state of the job that is running or ran last.
    var currentState = ExecutorState.serial
    var serialExecutor: UnownedSerialExecutor?
    var taskExecutor: UnownedTaskExecutor?
    var taskExecutorObject: UnsafeRawPointer?
    /// The main actor's executor, if this is the main thread's loop.
    var mainExecutor: UnownedSerialExecutor?
    var isRunning = true
    /// How many operations may still be submitted within this turn.
    var submissionsWithinTurn = 0
    /// Operations between their submission and their final completion.
    var inKernel = 0
    var entriesSeen = 0
  }

  var operations: OperationTable {
    _read { yield state.value.operations }
    _modify { yield &state.value.operations }
  }

  var statistics: IOLoop.Statistics {
    get { state.value.statistics }
    _modify { yield &state.value.statistics }
  }

  /// How many entries of waiting operations were examined; tests check the cost of waiting with it.
  var entriesSeen: Int {
    get { state.value.entriesSeen }
    _modify { yield &state.value.entriesSeen }
  }

  init(configuration: IOLoop.Configuration, inbox: Inbox) {
    self.configuration = configuration
    self.inbox = inbox
    controlBuffers = MemoryPool(
      blockSize: configuration.controlBufferSize, keeping: configuration.pooledBuffers)
    payloadBuffers = MemoryPool(
      blockSize: configuration.receiveBufferSize, keeping: configuration.pooledBuffers)
    // SAFETY: freed in deinit; used only on the loop's thread.
    unsafe completions = .allocate(capacity: 256)
    unsafe completions.initialize(repeating: cms_completion())
  }

  deinit { unsafe completions.deallocate() }

  /// Whether the caller runs on the loop's thread. Callable from any thread, because `thread` is
  /// set before the core is shared.
  var isCurrent: Bool { thread == cms_thread_self() }

  // MARK: The thread

  /// Claims the calling thread for the loop, and opens its driver there.
  func open() throws(SocketError) {
    let opened = try DriverSelection.open(configuration, inbox: inbox)
    open(with: opened.driver, opened.description)
  }

  /// Opens the loop with a given driver; tests pass one that simulates a kernel.
  func open(with driver: any Driver, _ description: IOLoop.Driver) {
    thread = cms_thread_self()
    self.driver = driver
    driverInUse = description
    acquiresReceiveMemoryEarly = description.kind == .ioUring
    submitsWithinTurn = driver.submitsByOneCall
    receivesStreamsAhead = description.receivesStreamsAhead
    receiveBuffers = driver.receiveBuffers
  }

  /// Sets the executors' identities. Call once, before the thread starts.
  func bind(serial: LoopSerialExecutor, task: LoopTaskExecutor) {
    let serial = unsafe serial.asUnownedSerialExecutor()
    unsafe state.value.serialExecutor = serial
    unsafe state.value.taskExecutor = task.asUnownedTaskExecutor()
    unsafe state.value.taskExecutorObject = UnsafeRawPointer(
      Unmanaged.passUnretained(task).toOpaque())
    unsafe executorIdentity = serial
  }

  /// The serial executor, for actors whose user holds the loop's handle.
  var unownedSerialExecutor: UnownedSerialExecutor { unsafe executorIdentity! }

  /// Runs the loop until it exits. The thread calls this after ``open()``.
  func run() {
    claimThread()
    while !mustExit { turn() }
    stopEverything(endReason)
    while state.value.inKernel > 0 { turn() }
    retireDriver().close()
  }

  /// Runs one turn: ready jobs, requests from other threads, a pending shutdown, one kernel enter,
  /// completions, deadlines, end-of-turn wake-ups. Completions come before deadlines, so a message
  /// that has arrived beats a deadline that has passed. Completions only enqueue jobs; they never
  /// run them.
  private func turn() {
    turnNumber &+= 1
    runReadyJobs()
    takeArrivals()
    endIfAsked()
    waitForKernel()
    reapCompletions()
    fireTimers()
    resumeWhoWaitedForTheTurn()
  }

  private func takeArrivals() {
    inbox.take(into: &arrivals)
    for item in arrivals {
      switch item {
      case .job(let job, let state):
        statistics.hops += 1
        makeReady(ReadyJob(job: job, state: state))
      case .look(let count): statistics.hops += UInt64(count)
      case .schedule(let job, let deadline): addTimer(job, deadline: deadline)
      case .shareJobs(let jobs): unbound = jobs
      case .stop(let id, let reason): stop(id, reason)
      case .recycle(let operation): operation.recycle(on: self)
      case .handleReleased(let socket): socket.handleReleased()
      case .drain(let socket): socket.startDraining()
      case .unread(let channel, let piece): if let piece = piece.take() { channel.unread(piece) }
      case .closed(let socket): socket()?.wasClosed()
      case .exit: mustExit = true
      }
    }
    arrivals.removeAll(keepingCapacity: true)
  }

  private func waitForKernel() {
    // Do not block either while a task waits for the end of this turn.
    guard state.value.ready.isEmpty, !hasUnboundJobs, state.value.waitingForTurn == 0,
      !mustExit || state.value.inKernel > 0
    else {
      return turnDriver(.none)
    }
    guard inbox.fallAsleep() else { return turnDriver(.none) }
    var next = state.value.timers.next
    if ClosingService.shared.mustBeAskedAgain() {
      let soon = LoopTime(after: ClosingService.startInterval)
      next = next.map { min($0, soon) } ?? soon
    }
    if let next {
      turnDriver(.nanoseconds(next.nanosecondsFromNow))
    } else {
      turnDriver(.indefinitely)
    }
    inbox.wakeUp()
  }

  func turnDriver(_ wait: Wait) {
    if let errno = driver.turn(wait) { endWithoutKernel(errno) }
  }

  func reapCompletions() {
    while true {
      let count = unsafe driver.reap(into: completions)
      if count == 0 { return }
      for index in 0..<count { complete(unsafe completions[index]) }
    }
  }

  /// All counters, including the driver's.
  var currentStatistics: IOLoop.Statistics {
    var current = statistics
    current.add(driver.counters)
    current.descriptorsTaken = takenDescriptors.count
    current.openSockets = openSockets.count
    return current
  }

  /// How many operations are in the kernel.
  var operationsInKernel: Int { state.value.inKernel }

  var isRunning: Bool { state.value.isRunning }
}

// MARK: Jobs

extension LoopCore {
  func makeReady(_ job: ReadyJob) { state.value.ready.append(job) }

  private func runReadyJobs() {
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
    let duration = LoopTime.coarse.nanoseconds - start.nanoseconds
    if duration > Self.longTurn { noteLongTurn(duration) }
  }

  private func noteLongTurn(_ nanoseconds: Int64) {
    statistics.longTurns += 1
    statistics.longTurnTime += .nanoseconds(nanoseconds)
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

  /// The executor state in which the current task must continue after a wait.
  func returnState() -> ExecutorState {
    switch state.value.currentState {
    case .task, .unbound, .main: return state.value.currentState
    case .serial, .serialPreferring: break
    }
    return unsafe cms_task_preferred_executor() == state.value.taskExecutorObject
      ? .serialPreferring : .serial
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

  private var hasUnboundJobs: Bool { unbound.map { $0.count > 0 } ?? false }

  /// Adds a job for this loop, or for a loop that takes it away.
  func enqueueUnbound(_ job: UnownedJob) {
    statistics.localEnqueues += 1
    unbound!.add(job)
  }

  /// Sets the main actor's executor; for the loop of the main thread.
  func bindMain(_ executor: UnownedSerialExecutor) { unsafe state.value.mainExecutor = executor }
}

/// State of a class that only one thread uses. It lives at a fixed address, which avoids the
/// run-time exclusivity check on each access to a class's own stored variable (39 checks per
/// message, a tenth of its time, before).
///
/// The caller must guarantee what the check would catch: an access to `value` must not call code
/// that accesses the same member again.
@safe
struct LoopIsolated<Value: ~Copyable>: ~Copyable {
  private let storage: UnsafeMutablePointer<Value>

  init(_ value: consuming Value) {
    // SAFETY: freed only in deinit, together with the object that holds this value.
    unsafe storage = .allocate(capacity: 1)
    unsafe storage.initialize(to: value)
  }

  deinit {
    unsafe storage.deinitialize(count: 1)
    unsafe storage.deallocate()
  }

  var value: Value {
    _read { yield unsafe storage.pointee }
    nonmutating _modify { yield unsafe &storage.pointee }
  }
}
