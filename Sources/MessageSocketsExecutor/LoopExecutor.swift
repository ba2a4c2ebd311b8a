// SPDX-License-Identifier: Apache-2.0
// Only this file relies on interfaces that the concurrency runtime does not guarantee: the proposal
// SE-0505 (custom main and global executors), as Swift 6.3 implements it unofficially. A compiler
// is added here when the tests pass with it.
#if compiler(>=6.3) && compiler(<6.4)
  @_spi(ExperimentalCustomExecutors) @_spi(ExperimentalScheduling) internal import _Concurrency
#endif
public import SocketEngine
internal import Synchronization

/// The loops as the executor of every task that prefers no other. **Experimental.**
///
/// A task that Swift's own thread pool runs pays two thread hops for each call of a socket: to the
/// socket's loop, and back. On a loop's thread it pays none. One line puts the whole program there,
/// its main actor included:
/// ```swift
/// import MessageSockets
/// import MessageSocketsExecutor
///
/// @main
/// struct Program {
///   static func main() throws {
///     try LoopExecutor.main {
///       let (left, right) = try UnixStream.makePair()
///       …
///     }
///   }
/// }
/// ```
/// That holds for `Task { }`, detached and child tasks, default actors, and `Task.sleep`, which
/// waits on a loop's clock. Tasks and actors with an executor of their own keep it.
///
/// Where jobs run: a job stays on the loop whose thread enqueues it, so that a task stays beside
/// the sockets that it has made; jobs from other threads are dealt out to the loops in turn. A loop
/// runs jobs one after the other. While one takes more than a millisecond or two, a loop that is
/// free takes over half of the jobs that wait behind it. The loop's sockets wait, and so do tasks
/// whose messages have arrived, and jobs of the main actor: calculate and block elsewhere
/// (`DispatchQueue`, a thread). ``IOLoop/Statistics/longTurns`` counts what was not.
///
/// There are as many loops as processors, those of ``IOLoopGroup/shared()``. Priorities of tasks
/// are not looked at.
///
/// It rests on interfaces of the runtime that are not official (SE-0505), so a later compiler may
/// not have them: ``main(_:)`` and ``install()`` then throw `notSupported`, and nothing has
/// changed.
public enum LoopExecutor {
  /// Runs a program on the loops: `body` and all code of the main actor on the main thread, which
  /// becomes the first loop, and every task that prefers nothing on one of them.
  ///
  /// To be called in a synchronous `main()`, or at the top level of a program without `await`
  /// there, before the first socket is made. Returns when `body` has returned; the loops are of no
  /// use then, and the program is to end. `DispatchQueue.main` and the main `RunLoop` are not
  /// served meanwhile.
  ///
  /// - Throws: what `body` throws. ``SocketError``: `notSupported`, if this compiler or its runtime
  ///   is not one that this package knows, on another thread than the main one, or if a socket has
  ///   been made already; as ``IOLoop/init(_:)``, if the loops cannot be started. Then `body` has
  ///   not run.
  public static func main(_ body: @escaping @MainActor () async throws -> Void) throws {
    #if compiler(>=6.3) && compiler(<6.4)
      let executor = try installation.withLock { (installed) throws(SocketError) in
        let executor = try Installation.installWithMainActor(alone: installed == nil)
        installed = Installation()
        return executor
      }
      let outcome = Mutex<Result<Void, any Error>?>(nil)
      Task { @MainActor in
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        outcome.withLock { $0 = result }
        executor.stop()
      }
      executor.run()
      try outcome.withLock { $0 }?.get()
    #else
      throw SocketError(
        .notSupported, .startLoop, detail: "LoopExecutor knows Swift 6.3; another compiler was used"
      )
    #endif
  }

  /// Makes the loops the executor of the process's tasks, from now on until the process ends. The
  /// main actor stays where it is: code on it, as that in an `async` `main()`, still hops to a loop
  /// and back for each call of a socket, and ``main(_:)`` is for programs. This one is for where
  /// `main()` belongs to another library, as to swift-argument-parser.
  ///
  /// Tasks that have been started before move over when they are next enqueued. Installing again
  /// changes nothing. May be called on any thread.
  ///
  /// - Throws: ``SocketError``: `notSupported`, if this compiler or its runtime is not one that
  ///   this package knows; as ``IOLoop/init(_:)``, if the loops cannot be started. Then nothing has
  ///   changed.
  public static func install() throws(SocketError) {
    #if compiler(>=6.3) && compiler(<6.4)
      try installation.withLock { (installed) throws(SocketError) in
        if installed != nil { return }
        try Installation.install(on: .shared(), main: nil)
        installed = Installation()
      }
    #else
      throw SocketError(
        .notSupported, .startLoop, detail: "LoopExecutor knows Swift 6.3; another compiler was used"
      )
    #endif
  }

  /// Whether the loops are the process's default executor.
  public static var isInstalled: Bool {
    #if compiler(>=6.3) && compiler(<6.4)
      installation.withLock { $0 != nil }
    #else
      false
    #endif
  }
}

#if compiler(>=6.3) && compiler(<6.4)
  private let installation = Mutex<Installation?>(nil)

  private struct Installation: Sendable {
    static func installWithMainActor(alone: Bool) throws(SocketError) -> MainLoopExecutor {
      guard alone, let group = try IOLoopGroup.makeSharedWithMainThread() else {
        throw SocketError(
          .notSupported, .startLoop,
          detail: "it has to be called on the main thread, and before a socket is made")
      }
      let executor = MainLoopExecutor(group.loops[0])
      try install(on: group, main: executor)
      return executor
    }

    static func install(on group: IOLoopGroup, main: MainLoopExecutor?) throws(SocketError) {
      let executor = DefaultLoopExecutor(try JobBalancer(group))
      chosen.withLock {
        $0 = Chosen(main: main ?? PlatformExecutorFactory.mainExecutor, other: executor)
      }
      _createExecutors(factory: Factory.self)
      try check(executor)
    }

    /// Checks that a task without a preference reaches the executor. If not, the runtime is not
    /// what this file assumes.
    private static func check(_ executor: DefaultLoopExecutor) throws(SocketError) {
      Task.detached {}
      if executor.hasJobs { return }
      _createExecutors(factory: PlatformExecutorFactory.self)
      throw SocketError(
        .notSupported, .startLoop,
        detail: "this version of Swift's concurrency runtime does not take another default executor"
      )
    }
  }

  /// The executors that the runtime requests from the factory.
  private struct Chosen: Sendable {
    let main: any MainExecutor
    let other: any TaskExecutor
  }

  private let chosen = Mutex<Chosen?>(nil)

  private struct Factory: ExecutorFactory {
    static var mainExecutor: any MainExecutor { chosen.withLock { $0!.main } }
    static var defaultExecutor: any TaskExecutor { chosen.withLock { $0!.other } }
  }

  /// Gives the jobs of tasks without an executor preference to the loops.
  private final class DefaultLoopExecutor: TaskExecutor, SchedulingExecutor {
    private let balancer: JobBalancer
    private let wasAsked = Atomic(false)

    init(_ balancer: JobBalancer) { self.balancer = balancer }

    /// Whether the runtime has enqueued a job here.
    var hasJobs: Bool { wasAsked.load(ordering: .relaxed) }

    func enqueue(_ job: consuming ExecutorJob) {
      if !hasJobs { wasAsked.store(true, ordering: .relaxed) }
      balancer.enqueue(UnownedJob(job))
    }

    func enqueue<C: Clock>(
      _ job: consuming ExecutorJob, after delay: C.Duration, tolerance: C.Duration?, clock: C
    ) {
      // Clocks with another type of duration convert it themselves, in the other method.
      guard let delay = delay as? Duration else {
        return enqueue(job, at: clock.now.advanced(by: delay), tolerance: tolerance, clock: clock)
      }
      balancer.enqueue(UnownedJob(job), after: delay)
    }

    func enqueue<C: Clock>(
      _ job: consuming ExecutorJob, at instant: C.Instant, tolerance: C.Duration?, clock: C
    ) {
      let job = UnownedJob(job)
      if let instant = instant as? ContinuousClock.Instant {
        balancer.enqueue(job, after: Deadline(instant).timeLeft)
      } else if let delay = clock.now.duration(to: instant) as? Duration {
        balancer.enqueue(job, after: delay)
      } else {
        // The clock sleeps in its own way; the job continues afterwards.
        Task.detached {
          try? await clock.sleep(until: instant, tolerance: tolerance)
          self.balancer.enqueue(job)
        }
      }
    }
  }

  /// The main thread's loop as the main actor's executor.
  private final class MainLoopExecutor: MainExecutor {
    private let loop: IOLoop

    init(_ loop: IOLoop) {
      self.loop = loop
      loop.bindMain(self)
    }

    func enqueue(_ job: consuming ExecutorJob) { loop.enqueueMain(UnownedJob(job)) }
    func run() { loop.runMain() }
    func stop() { loop.stopMain() }

    var isMainExecutor: Bool { true }
    func isIsolatingCurrentContext() -> Bool? { loop.isCurrent }
    func checkIsolated() { precondition(loop.isCurrent, "Not on the main thread") }
  }
#endif
