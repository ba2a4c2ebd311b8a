// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// A loop's thread, held by the objects that may give it jobs. The thread ends when the last of
/// them releases it.
///
/// The loop and both of its executors retain this object, and a task retains the executor that it
/// prefers, so a loop outlives its handle while a task can still return to it. The thread itself
/// retains the core, never this object.
final class LoopThread: Sendable {
  let inbox: Inbox
  let core: LoopCore

  init(configuration: IOLoop.Configuration) throws(SocketError) {
    inbox = try Inbox()
    core = LoopCore(configuration: configuration, inbox: inbox)
  }

  /// Starts the thread and waits (about 200 µs) until its driver is open.
  func start() throws(SocketError) {
    let start = try ThreadStart(core: core)
    try start.await(name: core.configuration.name)
  }

  /// Opens the driver on the calling thread, which must then run the loop with ``runHere()``.
  func openHere() throws(SocketError) {
    try core.open()
    core.claimThread()
  }

  /// Runs the loop on the calling thread until it ends.
  func runHere() { core.run() }

  deinit { inbox.send(.exit) }

  func enqueue(_ job: UnownedJob, state: ExecutorState) {
    if core.isCurrent {
      core.enqueueLocally(ReadyJob(job: job, state: state))
    } else {
      inbox.send(.job(job, state))
    }
  }
}

// MARK: Executors

/// The executor that a job runs on, as the runtime sees it. A loop is one thread with two
/// executors: the serial executor of its actors and the task executor of the tasks that prefer it.
/// The runtime compares these states, not threads, to decide whether a task must switch.
enum ExecutorState: Sendable {
  /// On the loop's serial executor: isolated to the loop's actors.
  case serial
  /// On the loop's serial executor, in a task that prefers the loop.
  case serialPreferring
  /// On no actor, in a task that prefers the loop.
  case task
  /// On no actor, in a task without an executor preference, where the loop belongs to the default
  /// executor.
  case unbound
  /// On the main actor, where the loop is the main thread's.
  case main
}

/// A job to run on the loop's thread, and the state to run it in.
struct ReadyJob {
  let job: UnownedJob
  let state: ExecutorState
}

/// The loop as a serial executor: the isolation of its socket actors, and of the program's own
/// actors that share the loop.
final class LoopSerialExecutor: SerialExecutor {
  private let thread: LoopThread

  init(thread: LoopThread) { self.thread = thread }

  func enqueue(_ job: consuming ExecutorJob) { thread.enqueue(UnownedJob(job), state: .serial) }

  // `assumeIsolated` and `preconditionIsolated` succeed on the loop's thread, whichever of the two
  // executors runs the job.
  func isIsolatingCurrentContext() -> Bool? { thread.core.isCurrent }
  func checkIsolated() { precondition(thread.core.isCurrent, "Not on the loop's thread") }
}

/// The loop as a task executor, for tasks that run on the thread of their sockets. It is a separate
/// class because the runtime distinguishes the two executors by identity.
final class LoopTaskExecutor: TaskExecutor {
  private let thread: LoopThread

  init(thread: LoopThread) { self.thread = thread }

  func enqueue(_ job: consuming ExecutorJob) { thread.enqueue(UnownedJob(job), state: .task) }
}

/// The loop's own actor: other threads await its methods to reach the loop's thread. The caller
/// holds the loop, which holds the executor.
actor LoopActor {
  private let core: LoopCore

  init(core: LoopCore) { self.core = core }

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    // SAFETY: the caller holds the loop, which holds the executor.
    unsafe core.unownedSerialExecutor
  }

  var statistics: IOLoop.Statistics { core.currentStatistics }
  var operationsInKernel: Int { core.operationsInKernel }
  var operationsInUse: Int { core.operations.inUse }

  func wait(for operation: Operation) async { await operation.wait() }

  /// Sends for a task on another thread.
  func send(
    _ payload: PayloadBytes, numbers: Span<FileDescriptor>, control: ControlMessageBuffer,
    to name: RawSpan, flags: Int32, deadline: Deadline, on channel: SocketChannel
  ) async throws {
    try await channel.send(
      payload, numbers: numbers, control: control, to: name, flags: flags, deadline: deadline)
  }

  /// Returns when the kernel holds nothing that belongs to the loop.
  func shutdown() async {
    if let ended = core.startShutdown() { _ = await ended.endedIgnoringCancellation() }
  }

  func sleep(for duration: Duration) async throws { try await core.sleep(for: duration) }
}

// MARK: Starting

/// The handshake between the thread that starts a loop and the loop's own thread.
///
/// `@unchecked Sendable`: the new thread writes `failure` before it opens the gate, and the other
/// thread reads it after waiting at the gate.
@safe
private final class ThreadStart: @unchecked Sendable {
  private let core: LoopCore
  private let gate: OpaquePointer
  private var failure: SocketError?

  init(core: LoopCore) throws(SocketError) {
    // SAFETY: destroyed only in deinit.
    guard let gate = unsafe cms_gate_create() else {
      throw SocketError(.outOfMemory, .startLoop)
    }
    self.core = core
    unsafe self.gate = gate
  }

  deinit { unsafe cms_gate_destroy(gate) }

  func await(name: String) throws(SocketError) {
    // SAFETY: the new thread takes over this reference and releases it.
    let context = unsafe Unmanaged.passRetained(self)
    let status = unsafe cms_thread_start(
      { unsafe ThreadStart.threadBody($0) }, context.toOpaque(), name)
    guard status == 0 else {
      unsafe context.release()
      let errno = Errno(rawValue: -status)
      // Here EAGAIN means that no thread can be started, not that a call would block.
      let code = errno == .resourceTemporarilyUnavailable ? .outOfThreads : SocketError.Code(errno)
      throw SocketError(code, .startLoop, errno: errno)
    }
    unsafe cms_gate_wait(gate)
    if let failure { throw failure }
  }

  private static func threadBody(_ context: UnsafeMutableRawPointer?) {
    // SAFETY: takes the reference that `await(name:)` passed, once.
    let core = unsafe Unmanaged<ThreadStart>.fromOpaque(context!).takeRetainedValue().open()
    core?.run()
  }

  /// Opens the loop on its own thread, and the gate in any case. Returns nil if the loop could not
  /// be opened.
  private func open() -> LoopCore? {
    defer { unsafe cms_gate_open(gate) }
    do {
      try core.open()
      return core
    } catch {
      failure = error
      return nil
    }
  }
}
