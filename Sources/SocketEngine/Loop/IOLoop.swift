// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// A thread that waits for the kernel on behalf of many sockets, and the executor of the tasks that
/// use them.
///
/// A loop owns one io_uring (io_uring(7)), or one epoll instance where io_uring is not allowed:
/// ``driver``. A socket belongs to one loop for its whole life, and the loop is the executor of the
/// socket's actor. A task that prefers the loop, as all code inside ``run(_:)`` does, sends and
/// receives without a thread hop:
/// ```swift
/// let loop = try IOLoop()
/// try await loop.run {
///   let (left, right) = try UnixStream.makePair()
///   try await left.sendMessage([1, 2, 3])
///   let message = try await right.receiveMessage()
/// }
/// await loop.shutdown()
/// ```
/// Code that blocks the thread stops all of the loop's sockets: await, or do long work elsewhere.
///
/// The thread blocks all signals except those of faults (`SIGSEGV` …), so a program's handlers run
/// on its own threads. A child process that is spawned from code on the loop inherits that mask,
/// unless it is given another one (`posix_spawnattr_setsigmask`).
///
/// A loop ends by ``shutdown()``, or by itself when no socket, handle or task refers to it.
public final class IOLoop: Sendable {
  private let thread: LoopThread
  private let serial: LoopSerialExecutor
  private let task: LoopTaskExecutor
  let loopActor: LoopActor

  /// Starts a loop with a thread of its own; takes about 200 µs.
  ///
  /// - Throws: ``SocketError`` with the code `invalidConfiguration` (also for an unknown value of
  ///   `MESSAGE_SOCKETS_DRIVER`), `outOfDescriptors`, `outOfMemory` or `outOfThreads`; where
  ///   io_uring is insisted on, `ioUringUnavailable` (containers, `kernel.io_uring_disabled`, old
  ///   kernels: the description names the reason).
  public convenience init(_ configuration: Configuration = Configuration()) throws(SocketError) {
    try configuration.validate()
    self.init(thread: try LoopThread(configuration: configuration))
    try thread.start()
  }

  /// Creates a loop on a thread that is started later.
  init(thread: LoopThread) {
    self.thread = thread
    serial = LoopSerialExecutor(thread: thread)
    task = LoopTaskExecutor(thread: thread)
    loopActor = LoopActor(core: thread.core)
    thread.core.bind(serial: serial, task: task)
  }

  /// The executor of actors that live on this loop. An actor of yours that has it as its
  /// `unownedExecutor` calls its sockets without switching; it must hold the loop, because unowned
  /// executors retain nothing:
  /// ```swift
  /// actor Session {
  ///   nonisolated let unownedExecutor: UnownedSerialExecutor
  ///   private let socket: UnixStream
  ///
  ///   init(_ socket: UnixStream) {
  ///     self.socket = socket
  ///     unownedExecutor = socket.loop.serialExecutor.asUnownedSerialExecutor()
  ///   }
  /// }
  /// ```
  /// Its tasks need no preference for the loop, and take fewer instructions without one.
  public var serialExecutor: any SerialExecutor { serial }

  /// The executor to prefer in tasks that use this loop's sockets:
  /// `Task(executorPreference: loop.taskExecutor) { … }`.
  public var taskExecutor: any TaskExecutor { task }

  /// Whether the caller runs on the loop's thread.
  public var isCurrent: Bool { core.isCurrent }

  /// Runs `body`, and the child tasks that it makes, on the loop's thread. Unstructured tasks
  /// (`Task { }`) do not inherit the preference. Sockets made inside belong to this loop unless
  /// another is named.
  ///
  /// A closure that is written in code of an actor, also in `main()`, which is on the main actor,
  /// stays on that actor by Swift's rules, and its calls hop to the loop and back. Pass a
  /// nonisolated function instead: `try await loop.run(serve)`.
  public func run<R>(_ body: @concurrent () async throws -> R) async rethrows -> R {
    try await IOLoop.$current.withValue(self) {
      try await withTaskExecutorPreference(task) { try await body() }
    }
  }

  /// The loop whose ``run(_:)`` the current task is in.
  @TaskLocal public static var current: IOLoop?

  /// The loop for sockets made without naming one: ``current``; or else, of the process's shared
  /// group (``IOLoopGroup/shared()``), the loop on whose thread the caller runs, or the next in
  /// turn.
  ///
  /// - Throws: ``SocketError`` as ``init(_:)`` does, when the group cannot be started.
  public static func currentOrShared() throws(SocketError) -> IOLoop {
    if let current { return current }
    let group = try IOLoopGroup.shared()
    return group.current ?? group.next()
  }

  /// Returns `loop`, or ``currentOrShared()`` if it is nil.
  package static func resolve(_ loop: IOLoop?) throws(SocketError) -> IOLoop {
    if let loop { return loop }
    return try currentOrShared()
  }

  /// The driver of the loop, io_uring or epoll, and why it was chosen. Does not change.
  public var driver: Driver { core.driverInUse }

  /// The counters of the loop. Asking from another thread costs a visit to the loop's thread.
  public var statistics: Statistics {
    get async { await loopActor.statistics }
  }

  /// Waits for at least `duration`: a task that prefers the loop stays on its thread, where
  /// `Task.sleep` would visit the global pool. The loop's wait in the kernel is cut to the earliest
  /// deadline; no system call is made for it.
  ///
  /// Any `Duration` will do: zero and negative ones end in the loop's next turn, and one of more
  /// than 292 years does not end. The time during which the machine is suspended counts, as in
  /// `ContinuousClock` (`CLOCK_BOOTTIME`); the end of a wait that has passed meanwhile is noticed
  /// within ten seconds of the resumption.
  ///
  /// - Throws: `CancellationError`; ``SocketError`` with the code `loopShutDown` or `loopFailed`.
  public nonisolated func sleep(for duration: Duration) async throws {
    if isCurrent {
      try await core.sleep(for: duration)
    } else {
      try await loopActor.sleep(for: duration)
    }
  }

  /// Ends the loop's work and returns when nothing of it is left in the kernel: pending operations
  /// are cancelled, and descriptors that arrive in their last moments are closed. From then on
  /// operations on its sockets throw `loopShutDown` (or, if it had ended by itself, `loopFailed`);
  /// sockets may still be closed.
  ///
  /// Calling it again, or from several tasks, waits for the same end. It is not cancellable. Do not
  /// call it from a task whose own receive must end first: that one ends with `loopShutDown`.
  public func shutdown() async {
    await loopActor.shutdown()
  }

  /// How many operations are in the kernel.
  var operationsInKernel: Int {
    get async { await loopActor.operationsInKernel }
  }

  /// How many operations are prepared, queued, in the kernel, or completed but not yet taken.
  var operationsInUse: Int {
    get async { await loopActor.operationsInUse }
  }

  // MARK: For the package

  var core: LoopCore { thread.core }

  /// Whether listeners that this process makes must be `O_NONBLOCK`. epoll needs it, because
  /// accept4(2) has no flag that means "do not block". A ring does not need it, and on old kernels
  /// would not wait on such a listener.
  package var wantsNonblockingListeners: Bool { driver.kind == .epoll }

  package var unownedSerialExecutor: UnownedSerialExecutor {
    unsafe serial.asUnownedSerialExecutor()
  }

  // MARK: On the main thread

  /// Opens a loop on the calling thread, which must then run it with ``runMain()``. Work that is
  /// started on the loop waits until then.
  convenience init(onThisThread configuration: Configuration) throws(SocketError) {
    try configuration.validate()
    self.init(thread: try LoopThread(configuration: configuration))
    try thread.openHere()
  }

  /// Runs the loop on the calling thread, which must have opened it, until ``stopMain()``.
  package func runMain() { thread.runHere() }
  package func stopMain() { thread.inbox.send(.exit) }

  /// Makes jobs of the main actor run in the isolation of `executor`. Call on the loop's thread.
  package func bindMain(_ executor: some SerialExecutor) {
    // SAFETY: the runtime holds the executor as long as the process lives.
    unsafe core.bindMain(executor.asUnownedSerialExecutor())
  }

  /// Runs a job of the main actor. Callable from any thread.
  package func enqueueMain(_ job: UnownedJob) { thread.enqueue(job, state: .main) }
}
