// SPDX-License-Identifier: Apache-2.0
internal import HeapModule
internal import SystemPackage

/// An action at a deadline.
///
/// The loop waits in the kernel at most until the first deadline (the ring's own wait takes a
/// timeout), so a deadline costs no system call of its own.
enum TimerAction: Sendable {
  /// Finish an operation that waits for this time.
  case finish(OperationID)
  /// Stop an operation that has taken too long.
  case stop(OperationID)
  /// Run a job; there is no operation.
  case run(UnownedJob)
}

extension LoopCore {
  func addTimer(_ job: UnownedJob, deadline: LoopTime) {
    state.value.timers.add(.run(job), deadline: deadline)
  }

  /// Starts a timer operation, which ends at `deadline` unless it is stopped first.
  func startTimer(_ operation: Operation, deadline: LoopTime) {
    operation.life.submit()
    state.value.timers.add(.finish(operation.id), deadline: deadline)
  }

  /// Stops `operation` at `deadline` if it has not ended by then.
  /// Stops the operation when the deadline has come, if it has one.
  @inline(__always)
  func addDeadline(_ deadline: Deadline, to operation: Operation) {
    if deadline != .never { addDeadline(LoopTime(deadline), to: operation.id) }
  }

  func addDeadline(_ deadline: LoopTime, to operation: OperationID) {
    state.value.timers.add(.stop(operation), deadline: deadline)
  }

  func fireTimers() {
    guard state.value.timers.next != nil else { return }
    let now = LoopTime.now
    while let action = state.value.timers.popDue(at: now) {
      switch action {
      case .stop(let id): stop(id, .deadline)
      case .finish(let id): signal(id)
      case .run(let job): makeReady(ReadyJob(job: job, state: .unbound))
      }
    }
    if state.value.timers.hasDoubled {
      let alive = state.value.timers.entries.filter { entry in
        switch entry.value {
        case .finish(let id), .stop(let id): operations.find(id) != nil
        case .run: true
        }
      }
      state.value.timers.keep(alive)
    }
  }

  func finishTimer(_ operation: Operation, errno: Errno?) {
    guard operation.life.state != .done else { return }
    operation.life.finish()
    operation.outcome.errno = errno
    finish(operation)
  }

  /// Waits on the loop's clock. Runs on the loop's thread, in the caller's isolation.
  nonisolated(nonsending) func sleep(for duration: Duration) async throws {
    try Task.checkCancellation()
    guard isRunning else { throw endError(.sleep) }
    let timer = makeOperation(.timer, socket: nil)
    startTimer(timer, deadline: LoopTime(after: duration))
    let ended = await timer.ended()
    if let error = ended.failure(.sleep) { throw error }
  }
}

/// Values that are due at a time, earliest first.
///
/// Values that are no longer needed are not searched for: they are dropped when their time comes,
/// or when the heap has doubled.
struct DeadlineHeap<Value>: ~Copyable {
  struct Entry: Comparable {
    let deadline: LoopTime
    let value: Value

    static func < (left: Entry, right: Entry) -> Bool { left.deadline < right.deadline }
    static func == (left: Entry, right: Entry) -> Bool { left.deadline == right.deadline }
  }

  private var heap = Heap<Entry>()
  private var compactAbove = 64

  init() {}

  /// When the first value is due.
  var next: LoopTime? { heap.min?.deadline }

  mutating func add(_ value: Value, deadline: LoopTime) {
    heap.insert(Entry(deadline: deadline, value: value))
  }

  mutating func popDue(at now: LoopTime) -> Value? {
    guard let first = heap.min, first.deadline <= now else { return nil }
    return heap.popMin()?.value
  }

  /// Whether the heap has doubled since unneeded values were last dropped.
  var hasDoubled: Bool { heap.count > compactAbove }

  var entries: [Entry] { heap.unordered }

  /// Keeps only `entries`.
  mutating func keep(_ entries: [Entry]) {
    heap = Heap(entries)
    compactAbove = max(64, entries.count * 2)
  }
}
