// SPDX-License-Identifier: Apache-2.0
#if Lifecycle
  public import MessageSockets
  public import ServiceLifecycle
  public import ServiceManagement

  #if canImport(Glibc)
    internal import Glibc
  #elseif canImport(Musl)
    internal import Musl
  #endif

  /// A hand-over, as a service: it serves until a successor does, or the group shuts down.
  ///
  /// ```swift
  /// let handOver = try await HandOver.begin(at: control)
  /// var inherited = handOver.takeInherited()
  /// let web: TCPListener =
  ///   handOver.isSuccessor
  ///   ? try inherited.descriptors.takeListener(named: "web") : try .bind(to: address)
  /// let server = HandOverService(
  ///   handOver, listener: web, named: "web", notifying: ServiceNotifier()
  /// ) { connection in … }
  /// let configuration = ServiceGroupConfiguration(
  ///   services: [server.configuration], gracefulShutdownSignals: [.sigterm], logger: logger)
  /// try await ServiceGroup(configuration: configuration).run()
  /// ```
  /// Once a successor serves, ``run()`` returns, and the process has nothing left to do: use
  /// ``configuration``, with which the group then shuts down. A group that gets the service as it
  /// is takes its end for a failure.
  ///
  /// It tells the service manager itself what the group cannot know, so do not add a
  /// ``ReadinessService``: that the successor is now the service's main process, before the
  /// predecessor ends; and that the service stops, but only if no successor goes on.
  public struct HandOverService: Service {
    private let handOver: HandOver
    private let manager: ServiceNotifier?
    private let onError: @Sendable (any Error) -> Void
    private let offering: @Sendable () async throws -> HandOverItems
    private let takingBack: @Sendable (consuming HandOverItems) async -> Void
    private let serving: @Sendable (@escaping @Sendable () -> Void) async throws -> Void

    /// Runs a hand-over with these closures.
    ///
    /// - Parameters:
    ///   - handOver: One that has not run.
    ///   - manager: Is told that this process is ready and the main one, before `serving` is
    ///     called, and that it stops; nil tells nothing. A manager that cannot be told within two
    ///     seconds does not keep the process from serving.
    ///   - onError: Called with the error when the manager could not be told.
    ///   - offering: See ``HandOver/run(offering:takingBack:serving:)``, as for the others.
    ///   - takingBack: Gets the items of a hand-over that has failed.
    ///   - serving: Accepts and handles connections; it is cancelled when the group shuts down, or
    ///     a successor serves.
    public init(
      _ handOver: HandOver, notifying manager: ServiceNotifier? = nil,
      onError: @escaping @Sendable (any Error) -> Void = { _ in },
      offering: @escaping @Sendable () async throws -> HandOverItems,
      takingBack: @escaping @Sendable (consuming HandOverItems) async -> Void = { _ in },
      serving: @escaping @Sendable (_ announce: @escaping @Sendable () -> Void) async throws -> Void
    ) {
      self.handOver = handOver
      self.manager = manager
      self.onError = onError
      self.offering = offering
      self.takingBack = takingBack
      self.serving = serving
    }

    /// Serves a listener, and hands a duplicate of it to each successor.
    ///
    /// On graceful shutdown and when a successor serves, the connections end as those of a
    /// ``ListenerService`` do.
    ///
    /// - Parameters:
    ///   - handOver: One that has not run.
    ///   - listener: What this process has taken over or bound. Closed when the service ends.
    ///   - name: The listener's name in ``HandOverItems/descriptors``.
    ///   - manager: See ``init(_:notifying:onError:offering:takingBack:serving:)``.
    ///   - limits: How many connections are handled at a time, and the grace period.
    ///   - onError: Called with each error that a handler throws, and when the manager could not
    ///     be told.
    ///   - handler: Owns the connection while it runs, on the connection's loop. Iterate over
    ///     ``MessageSequence/untilDraining()`` for idle connections to end immediately.
    public init<Listener: SocketListener>(
      _ handOver: HandOver, listener: Listener, named name: String,
      notifying manager: ServiceNotifier? = nil, limits: ServeLimits = ServeLimits(),
      onError: @escaping @Sendable (any Error) -> Void = { _ in },
      handler: @escaping @Sendable (Listener.Connection) async throws -> Void
    ) {
      self.init(handOver, notifying: manager, onError: onError) {
        var items = HandOverItems()
        try await items.descriptors.append(duplicateOf: listener, named: name)
        return items
      } serving: { announce in
        announce()
        try await listener.serve(limits, onError: onError, handler: handler)
      }
    }

    /// The service with what a group needs to know: that it shuts down when a successor serves.
    public var configuration: ServiceGroupConfiguration.ServiceConfiguration {
      .init(service: self, successTerminationBehavior: .gracefullyShutdownGroup)
    }

    /// Serves until a successor serves or the group shuts down.
    ///
    /// - Precondition: The hand-over has not run before.
    /// - Throws: As ``HandOver/run(offering:takingBack:serving:)``. Shutdown and cancellation are
    ///   no errors.
    public func run() async throws {
      enum Event { case ended(HandOver.Ending), stopping(isTold: Bool) }
      try await withThrowingTaskGroup(of: Event.self) { group in
        group.addTask {
          let ending = try await cancelWhenGracefulShutdown {
            try await handOver.run(offering: offering, takingBack: takingBack) { announce in
              await tellReady()
              try await serving(announce)
            }
          }
          return .ended(ending)
        }
        group.addTask {
          // The manager is told at the begin of a shutdown. Throws if the hand-over has ended.
          guard (try? await gracefulShutdown()) != nil else { return .stopping(isTold: false) }
          await manager?.notifyUncancelled([.stopping], onError)
          return .stopping(isTold: true)
        }
        var isReplaced = false
        var isTold = false
        while let event = try await group.next() {
          switch event {
          case .ended(let ending):
            isReplaced = ending == .replaced
            group.cancelAll()
          case .stopping(let wasTold): isTold = wasTold
          }
        }
        if !isReplaced, !isTold { await manager?.notifyUncancelled([.stopping], onError) }
      }
    }

    private func tellReady() async {
      guard let manager else { return }
      let limit = Deadline.now + .seconds(2)
      do {
        try await manager.notify(.ready, .mainProcess(getpid()), deadline: limit)
        // The manager must know it before the predecessor ends.
        try await manager.barrier(deadline: limit)
      } catch {
        onError(error)
      }
    }
  }

  extension ServiceNotifier {
    /// Sends a message within two seconds, even if the current task is cancelled.
    func notifyUncancelled(
      _ fields: [NotifyField], _ onError: @escaping @Sendable (any Error) -> Void
    ) async {
      await Task {
        do {
          try await notify(fields, deadline: .now + .seconds(2))
        } catch {
          onError(error)
        }
      }.value
    }
  }
#endif
