// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import DequeModule
internal import SystemPackage

/// Everything that only the loop's thread touches: jobs, operations, timers, memory, the driver.
///
/// `@unchecked Sendable`: apart from ``isCurrent`` and what is constant, every member is used on
/// the loop's thread, on which all of its entry points insist. Other threads use the ``Inbox``.
@safe
final class LoopCore: @unchecked Sendable {
  enum Phase {
    case running
    /// Everything has been cancelled; the ring closes when the last operation has ended.
    case draining
    /// An executor without a ring: operations fail at once, jobs still run.
    case closed
  }

  let configuration: IOLoop.Configuration
  let inbox: Inbox
  @safe @exclusivity(unchecked) private(set) var driver: (any Driver)!
  /// Which driver ``open()`` has chosen, and why; does not change afterwards.
  private(set) var driverInUse: IOLoop.Driver!
  /// A ring's receive is handed to the kernel with its memory; the readiness driver lends it for
  /// each try.
  @safe @exclusivity(unchecked) private(set) var lendsReceiveMemoryEarly = false
  @safe @exclusivity(unchecked) private var submitsWithinTurn = false
  /// The driver's; nil once it is closed.
  @safe @exclusivity(unchecked) private var receiveBuffers: ReceiveBuffers?
  private let state = LoopConfined(State())
  let claims = DescriptorClaims()
  let controlBuffers: MemoryPool
  let payloadBuffers: MemoryPool

  /// Counts the loop's turns, and begins anew.
  @safe @exclusivity(unchecked) private(set) var turnNumber: UInt32 = 0
  @safe @exclusivity(unchecked) private var phase = Phase.running
  /// Who waits for the loop to be shut down.
  private var closers: [OperationID] = []
  /// What the kernel said when it refused the loop's system call for good.
  @safe @exclusivity(unchecked) private(set) var failure: Errno?
  @safe @exclusivity(unchecked) private var arrivals: [Inbox.Item] = []
  @safe @exclusivity(unchecked) private var mustExit = false
  private let completions: UnsafeMutableBufferPointer<cms_completion>
  /// Written once, before the thread starts; may be read on any thread.
  private var executorIdentity: UnownedSerialExecutor?
  /// Written once, by the loop's own thread before anyone can ask.
  private var thread: UInt = 0

  /// What is used for every message.
  @safe
  private struct State: ~Copyable {
    var operations = OperationTable()
    var timers = TimerQueue()
    var ready: Deque<ReadyJob> = []
    var untilEndOfTurn: [OperationID] = []
    var hasSendsUntilEndOfTurn = false
    var statistics = IOLoop.Statistics()
    /// The state of the job that is running, or ran last.
    var currentState = ExecutorState.serial
    var serialExecutor: UnownedSerialExecutor?
    var taskExecutor: UnownedTaskExecutor?
    var taskExecutorObject: UnsafeRawPointer?
    var isRunning = true
    /// How many operations may still be submitted in the midst of this turn.
    var submissionsWithinTurn = 0
    /// Operations between their submission and their final completion.
    var inKernel = 0
  }

  var operations: OperationTable {
    _read { yield state.value.operations }
    _modify { yield &state.value.operations }
  }

  var statistics: IOLoop.Statistics {
    get { state.value.statistics }
    _modify { yield &state.value.statistics }
  }

  init(configuration: IOLoop.Configuration, inbox: Inbox) {
    self.configuration = configuration
    self.inbox = inbox
    controlBuffers = MemoryPool(
      blockSize: configuration.controlBufferSize, keeping: configuration.pooledBuffers)
    payloadBuffers = MemoryPool(
      blockSize: configuration.receiveBufferSize, keeping: configuration.pooledBuffers)
    // SAFETY: freed in deinit; used on the loop's thread only.
    unsafe completions = .allocate(capacity: 256)
    unsafe completions.initialize(repeating: cms_completion())
  }

  deinit { unsafe completions.deallocate() }

  /// Whether the caller runs on the loop's thread. May be asked from any thread: `thread` is set
  /// before the core is shared.
  var isCurrent: Bool { thread == cms_thread_self() }

  // MARK: The thread

  /// Claims the calling thread for the loop, and opens its driver there.
  func open() throws(SocketError) {
    let opened = try DriverSelection.open(configuration, wakeNumber: inbox.wakeDescriptor.number)
    open(with: opened.driver, opened.description)
  }

  /// The same with a given driver: tests have one that simulates a kernel.
  func open(with driver: any Driver, _ description: IOLoop.Driver) {
    thread = cms_thread_self()
    self.driver = driver
    driverInUse = description
    lendsReceiveMemoryEarly = description.kind == .ioUring
    submitsWithinTurn = driver.submitsByOneCall
    receiveBuffers = driver.receiveBuffers
  }

  /// The executors' identities; given once, before the thread starts.
  func bind(serial: LoopSerialExecutor, task: LoopTaskExecutor) {
    let serial = unsafe serial.asUnownedSerialExecutor()
    unsafe state.value.serialExecutor = serial
    unsafe state.value.taskExecutor = task.asUnownedTaskExecutor()
    unsafe state.value.taskExecutorObject = UnsafeRawPointer(
      Unmanaged.passUnretained(task).toOpaque())
    unsafe executorIdentity = serial
  }

  /// For actors whose user holds the loop's handle.
  var unownedSerialExecutor: UnownedSerialExecutor { unsafe executorIdentity! }

  /// The thread's whole life after ``open()``.
  func run() {
    while !mustExit { turn() }
    stopEverything(endReason)
    while state.value.inKernel > 0 { turn() }
    retireDriver().close()
  }

  /// One turn: jobs, then other threads' requests, then the loop's end if it was asked for, then
  /// the kernel, then completions, then deadlines, against which what has arrived wins, then who
  /// waited for this turn. Completions make jobs ready; they never run them.
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

  private func runReadyJobs() {
    state.value.submissionsWithinTurn = Self.maximumSubmissionsWithinTurn
    // A budget, so that jobs that keep making jobs cannot keep completions waiting.
    var budget = configuration.jobsPerTurn
    while budget > 0, let job = state.value.ready.popFirst() {
      budget -= 1
      run(job)
    }
  }

  private func run(_ ready: ReadyJob) {
    state.value.currentState = ready.state
    statistics.jobs += 1
    // SAFETY: both executors outlive the thread's work: whoever enqueued the job holds one of them.
    switch ready.state {
    case .serial: unsafe ready.job.runSynchronously(on: state.value.serialExecutor!)
    case .serialPreferring:
      unsafe ready.job.runSynchronously(
        isolatedTo: state.value.serialExecutor!, taskExecutor: state.value.taskExecutor!)
    case .task: unsafe ready.job.runSynchronously(on: state.value.taskExecutor!)
    }
  }

  private func takeArrivals() {
    inbox.take(into: &arrivals)
    for item in arrivals {
      switch item {
      case .job(let job, let state):
        statistics.hops += 1
        makeReady(ReadyJob(job: job, state: state))
      case .stop(let id, let reason): stop(id, reason)
      case .recycle(let operation): operation.recycle(on: self)
      case .abandon(let socket): socket.abandon()
      case .putBack(let channel, let bytes): channel.putBack(bytes)
      case .closed(let socket): socket()?.wasClosed()
      case .exit: mustExit = true
      }
    }
    arrivals.removeAll(keepingCapacity: true)
  }

  private func waitForKernel() {
    // Nor may it sleep while a task waits for this turn only.
    guard state.value.ready.isEmpty, state.value.untilEndOfTurn.isEmpty,
      !mustExit || state.value.inKernel > 0
    else {
      return turnDriver(.none)
    }
    guard inbox.fallAsleep() else { return turnDriver(.none) }
    if let next = state.value.timers.next {
      turnDriver(.nanoseconds(max(0, next.nanosecondsFromNow)))
    } else {
      turnDriver(.indefinitely)
    }
    inbox.wakeUp()
  }

  private func turnDriver(_ wait: Wait) {
    if let errno = driver.turn(wait) { endWithoutKernel(errno) }
  }

  private func reapCompletions() {
    while true {
      let count = unsafe driver.reap(into: completions)
      if count == 0 { return }
      for index in 0..<count { complete(unsafe completions[index]) }
    }
  }

  // MARK: Jobs

  func enqueueLocally(_ job: ReadyJob) {
    statistics.localEnqueues += 1
    makeReady(job)
  }

  func makeReady(_ job: ReadyJob) { state.value.ready.append(job) }

  /// The state in which the current task will want to go on after a wait.
  func returnState() -> ExecutorState {
    if state.value.currentState == .task { return .task }
    return unsafe cms_task_preferred_executor() == state.value.taskExecutorObject
      ? .serialPreferring : .serial
  }

  /// The task of `operation` is to go on at the end of this turn, done or not.
  func resumeAfterTurn(_ operation: Operation) {
    state.value.untilEndOfTurn.append(operation.id)
    if case .send = operation.request { state.value.hasSendsUntilEndOfTurn = true }
  }

  private func resumeWhoWaitedForTheTurn() {
    state.value.hasSendsUntilEndOfTurn = false
    while let id = state.value.untilEndOfTurn.popLast() {
      if let operation = operations.find(id), operation.life.state != .done {
        operation.resumeTaskForTurn(on: self)
      }
    }
  }

  /// Their tasks go on before the turn ends, and may take their slots to another thread.
  private func forgetWhoHasEnded() {
    var left = 0
    for index in state.value.untilEndOfTurn.indices {
      let id = state.value.untilEndOfTurn[index]
      guard let operation = operations.find(id), operation.life.state != .done else { continue }
      state.value.untilEndOfTurn[left] = id
      left += 1
    }
    // In place: this happens for every message where there is one pair.
    state.value.untilEndOfTurn.removeLast(state.value.untilEndOfTurn.count - left)
  }

  // MARK: Operations

  /// A fresh operation, not yet started.
  func makeOperation(_ request: OperationRequest, socket: OpenSocket?) -> Operation {
    let operation = operations.take { Operation(index: $0, core: self) }
    operation.prepare(request, socket: socket)
    return operation
  }

  /// Hands a queued operation to the kernel.
  func submit(_ operation: Operation) {
    operation.life.submit()
    operation.noteStart()
    state.value.inKernel += 1
    driver.start(operation)
  }

  /// A task that only sends must not keep the loop from all else.
  private static let maximumSubmissionsWithinTurn = 64

  /// Submits an operation that probably need not wait, from the job that has started it, where
  /// nobody else would share the system call: then its task goes on without being suspended.
  /// Whether the operation has ended.
  func finishesAtOnce(_ operation: Operation) -> Bool {
    guard submitsWithinTurn, state.value.ready.isEmpty, !state.value.hasSendsUntilEndOfTurn,
      state.value.submissionsWithinTurn > 0,
      operation.life.state == .inKernel
    else { return false }
    state.value.submissionsWithinTurn -= 1
    turnDriver(.none)
    reapCompletions()
    forgetWhoHasEnded()
    return operation.life.state == .done
  }

  /// Asks an operation to end early. Nothing happens if it has ended already or its slot is in
  /// another use.
  func stop(_ id: OperationID, _ reason: StopReason) {
    guard let operation = operations.find(id) else { return }
    stop(operation, reason)
  }

  /// Stops an operation from any thread. Idempotent; too late is no error.
  func stopFromAnywhere(_ id: OperationID, _ reason: StopReason) {
    if isCurrent {
      stop(id, reason)
    } else {
      inbox.send(.stop(id, reason))
    }
  }

  func stop(_ operation: Operation, _ reason: StopReason) {
    switch operation.life.stop(reason) {
    case .none: break
    case .finish:
      operation.fail(.canceled)
      if case .waitForMessage = operation.request {
        statistics.cancellations += 1
        statistics.cancelled += 1
      } else {
        statistics.stoppedBeforeSubmission += 1
      }
      finish(operation)
    case .cancelInKernel:
      switch operation.request {
      case .timer:
        statistics.cancellations += 1
        statistics.cancelled += 1
        finishTimer(operation, errno: .canceled)
      case .event: finishTimer(operation, errno: .canceled)
      case .receiveAhead:
        statistics.multishotStops += 1
        driver.cancel(operation)
      default:
        statistics.cancellations += 1
        driver.cancel(operation)
      }
    }
  }

  private func complete(_ completion: cms_completion) {
    guard let operation = operations.find(OperationID(userData: completion.user_data)) else {
      preconditionFailure("A completion names an operation that has ended")
    }
    statistics.completions += 1
    if case .receiveAhead = operation.request { return completeReceiveAhead(operation, completion) }
    switch operation.absorb(completion) {
    case .again: driver.start(operation)
    case .finished:
      operation.life.finish()
      state.value.inKernel -= 1
      count(operation)
      finish(operation)
    }
  }

  /// A message of a multishot receive, or its end, or both.
  private func completeReceiveAhead(_ operation: Operation, _ completion: cms_completion) {
    if completion.flags & cms_completion_buffer != 0 {
      // The operation, which has not ended yet, holds the socket.
      operation.withSocket { take(message(of: operation, in: completion), on: $0) }
    }
    if completion.flags & cms_completion_more != 0 { return }
    operation.life.finish()
    state.value.inKernel -= 1
    endReceiveAhead(operation, completion.result < 0 ? Errno(rawValue: -completion.result) : nil)
  }

  private func take(_ outcome: consuming OperationOutcome, on socket: OpenSocket) {
    outcome.noteEnd(on: socket.kind)
    if let policy = socket.policy { policy.judge(&outcome) }
    countReceived(outcome, byteCount: outcome.payload.count)
    socket.deliver(outcome)
  }

  /// The multishot receive is over: no task awaits it, its socket is told.
  private func endReceiveAhead(_ operation: Operation, _ errno: Errno?) {
    let socket = operation.socket!
    socket.leave(operation)
    // Stopped before it was submitted it has an errno, which the slot's next use must not find.
    operation.outcome = OperationOutcome()
    operation.recycle(on: self)
    socket.receiveAheadEnded(errno)
  }

  /// Takes a message out of its buffer, and gives the buffer back.
  private func message(of operation: Operation, in completion: cms_completion) -> OperationOutcome {
    guard let buffers = receiveBuffers else {
      preconditionFailure("A completion names a buffer, but there are none")
    }
    let id = UInt16(truncatingIfNeeded: completion.flags >> 16)
    defer { buffers.provide(id) }
    // SAFETY: the kernel has filled the buffer, and has no business with it until it is provided
    // again.
    let received = unsafe ReceivedBuffer(
      buffers.bytes(of: id), filled: Int(completion.result), nameSize: operation.receivedNameSize,
      controlSize: buffers.controlSize)
    guard let received = unsafe received else {
      preconditionFailure("The kernel has filled a buffer in a way it does not do")
    }
    var outcome = unsafe OperationOutcome(
      received, controlSize: buffers.controlSize, on: operation.descriptor)
    // A stream's messages have no length of their own, and none of no bytes but the end: what is
    // there counts. So it does where nothing is there, whatever length that is said to have.
    if operation.withSocket({ $0.kind }) == .stream || outcome.payload.isEmpty {
      outcome.byteCount = outcome.payload.count
    }
    return outcome
  }

  /// A waiting task gets a message.
  func finishWaiter(_ waiter: Operation, _ outcome: consuming OperationOutcome) {
    waiter.life.submit()
    waiter.life.finish()
    waiter.outcome = outcome
    waiter.resumeTask(on: self)
  }

  /// A message that no task waits for yet, as an operation that is done.
  func makeMessage(_ outcome: consuming OperationOutcome) -> Operation {
    let message = makeOperation(.waitForMessage(copying: false, room: 0), socket: nil)
    message.life.submit()
    message.life.finish()
    message.outcome = outcome
    return message
  }

  /// How to receive one message: with memory from the start, which is fastest, until that many
  /// receives have some; then without, until there is something.
  func receiveRequest(flags: Int32) -> OperationRequest {
    let mayWaitWithoutMemory =
      lendsReceiveMemoryEarly && flags & (cms_msg_errqueue | cms_msg_oob | cms_msg_dontwait) == 0
    return mayWaitWithoutMemory && controlBuffers.lent >= configuration.waitingReceiveBuffers
      ? .receiveWhenReadable(flags: flags) : .receive(flags: flags)
  }

  var canReceiveAhead: Bool { receiveBuffers != nil }

  /// The handle of `socket` is gone. From any thread.
  func abandon(_ socket: OpenSocket) {
    if isCurrent {
      socket.abandon()
    } else {
      inbox.send(.abandon(socket))
    }
  }

  /// The outcome is known: the socket's next operation may start, and the task may go on.
  private func finish(_ operation: Operation) {
    if case .receiveAhead = operation.request {
      return endReceiveAhead(operation, operation.outcome.errno)
    }
    operation.withSocket { $0.leave(operation) }
    operation.resumeTask(on: self)
  }

  private func count(_ operation: Operation) {
    let errno = operation.outcome.errno
    let byteCount = operation.outcome.byteCount
    switch operation.request {
    case .send:
      if errno == nil { statistics.messagesSent += 1 }
      statistics.bytesSent += UInt64(byteCount)
    case .receive where errno == nil: countReceived(operation.outcome, byteCount: byteCount)
    default: break
    }
    guard operation.life.stopReason != nil else { return }
    switch errno {
    case .canceled where byteCount > 0: statistics.stoppedPartWay += 1
    case .canceled: statistics.cancelled += 1
    default: statistics.wonAgainstCancellation += 1
    }
  }

  /// An operation that nobody but ``signal(_:)`` finishes: a task can wait for something in this
  /// process.
  func makeEvent() -> Operation {
    let event = makeOperation(.event, socket: nil)
    event.life.submit()
    return event
  }

  /// Too late is no error: the event's task may have taken it.
  func signal(_ id: OperationID) {
    if let event = operations.find(id) { finishTimer(event, errno: nil) }
  }

  /// Copies of descriptors that were received ahead have been made.
  func noteReceived(_ count: Int) { statistics.descriptorsReceived += UInt64(count) }

  private func countReceived(_ outcome: borrowing OperationOutcome, byteCount: Int) {
    if outcome.isEnd { return }
    statistics.messagesReceived += 1
    statistics.bytesReceived += UInt64(byteCount)
    statistics.descriptorsReceived += UInt64(outcome.descriptors.count)
    if let judgement = outcome.judgement {
      statistics.descriptorsReceived += UInt64(judgement.closed)
      statistics.descriptorsRefused += UInt64(judgement.closed)
    }
  }

  // MARK: Timers

  /// Starts a timer operation, which ends at `deadline` unless it is stopped before.
  func startTimer(_ operation: Operation, deadline: LoopTime) {
    operation.life.submit()
    state.value.timers.add(operation.id, deadline: deadline, action: .finish)
  }

  /// Stops `operation` at `deadline`, if it has not ended by then.
  func addDeadline(_ deadline: LoopTime, to operation: Operation) {
    addDeadline(deadline, to: operation.id)
  }

  func addDeadline(_ deadline: LoopTime, to operation: OperationID) {
    state.value.timers.add(operation, deadline: deadline, action: .stop)
  }

  private func fireTimers() {
    guard state.value.timers.next != nil else { return }
    let now = LoopTime.now
    while let timer = state.value.timers.popDue(at: now) {
      guard let operation = operations.find(timer.operation) else { continue }
      switch timer.action {
      case .stop: stop(operation, .deadline)
      case .finish: finishTimer(operation, errno: nil)
      }
    }
    if state.value.timers.hasDoubled {
      let alive = state.value.timers.entries.filter { operations.find($0.operation) != nil }
      state.value.timers.keep(alive)
    }
  }

  private func finishTimer(_ operation: Operation, errno: Errno?) {
    guard operation.life.state != .done else { return }
    operation.life.finish()
    operation.outcome.errno = errno
    finish(operation)
  }

  // MARK: Shutdown

  /// Asks for the end: everything is cancelled, the driver closed, and the loop goes on as an
  /// executor only. What to wait for until that is done; nil if it is.
  func startShutdown() -> Operation? {
    if case .closed = phase { return nil }
    let ended = makeEvent()
    closers.append(ended.id)
    return ended
  }

  /// Between the jobs and the kernel, so that what jobs have started is the kernel's before a task
  /// can tell that the loop ends: a socket that it then drops is no reason for its peer's send to
  /// fail. (But for requests that a ring had no entries for, which come later.)
  private func endIfAsked() {
    if !closers.isEmpty { startDraining() }
    finishDraining()
  }

  private func startDraining() {
    guard case .running = phase else { return }
    phase = .draining
    state.value.isRunning = false
    stopEverything(endReason)
  }

  private func stopEverything(_ reason: StopReason) {
    for operation in operations.allInUse {
      // What waits for a socket to close goes on waiting for that: it is this very stop that brings
      // it about.
      if case .event = operation.request { continue }
      stop(operation, reason)
    }
  }

  /// The last operation has had its final completion: nothing of ours is left in the kernel.
  private func finishDraining() {
    guard case .draining = phase, state.value.inKernel == 0 else { return }
    phase = .closed
    retireDriver().close()
    driver = ClosedDriver(wakeNumber: inbox.wakeDescriptor.number)
    for closer in closers { signal(closer) }
    closers = []
  }

  /// Nothing can be submitted any more, nor waited for: everything ends.
  private func endWithoutKernel(_ errno: Errno) {
    // What has completed stands. (What had found no room in the completion queue cannot be had any
    // more.)
    reapCompletions()
    failure = errno
    retireDriver().abandon()
    driver = ClosedDriver(
      wakeNumber: inbox.wakeDescriptor.number,
      orphans: operations.allInUse.filter(\.isInKernel).map(\.id))
    startDraining()
  }

  /// Why operations end with the loop.
  var endReason: StopReason { failure == nil ? .loopShutdown : .loopFailed }

  /// Why no operation can be started any more.
  func endError(_ operation: SocketError.Operation) -> SocketError {
    failure.map { SocketError(.loopFailed, operation, errno: $0) }
      ?? SocketError(.loopShutDown, operation)
  }

  /// The driver, which is to be closed: what it has counted is kept, and its buffers are not used
  /// any more.
  private func retireDriver() -> any Driver {
    statistics.add(driver.counters)
    receiveBuffers = nil
    return driver
  }

  /// Everything counted, the driver's part included.
  var currentStatistics: IOLoop.Statistics {
    var current = statistics
    current.add(driver.counters)
    current.descriptorsClaimed = claims.count
    return current
  }

  /// How many operations the kernel has in hand.
  var operationsInKernel: Int { state.value.inKernel }

  var isRunning: Bool { state.value.isRunning }
}
