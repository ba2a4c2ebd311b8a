// SPDX-License-Identifier: Apache-2.0
#if Lifecycle
  public import ServiceLifecycle
  public import ServiceManagement
  internal import UnixSignals

  /// Tells the service manager that this process is ready, reloads, and stops; and reloads when it
  /// is asked to.
  ///
  /// **Put it last in the group.** A group starts its services in order, and shuts them down in the
  /// reverse order, each when the next one has ended: the last one is the first to know, so that
  /// the manager is told before the others finish their work. It is ready when the listeners are
  /// bound, which is before the group is made.
  /// ```swift
  /// let manager = ServiceNotifier()
  /// let services: [any Service] = [
  ///   WatchdogService(manager), ListenerService(listener) { … }, ReadinessService(manager),
  /// ]
  /// ```
  /// Does nothing, and waits for the shutdown, if no manager listens. The C name is sd_notify(3).
  public struct ReadinessService: Service {
    private let manager: ServiceNotifier
    private let status: String?
    private let onError: @Sendable (any Error) -> Void
    private let reload: (@Sendable () async throws -> Void)?

    /// Speaks to the manager that the environment names, or to another one.
    ///
    /// - Parameters:
    ///   - manager: The service manager.
    ///   - status: A line for people, sent with `READY=1`.
    ///   - onError: Called with errors of `reload`, and when the manager could not be told that the
    ///     service reloads or stops.
    ///   - reload: Called for each SIGHUP, between `RELOADING=1` and `READY=1`; that is what
    ///     `Type=notify-reload` expects. If it throws, the service is ready again all the same,
    ///     with what it had. Signals that come meanwhile are handled afterwards. Shutdown waits for
    ///     it. Without it, SIGHUP does what it did before.
    public init(
      _ manager: ServiceNotifier = ServiceNotifier(), status: String? = nil,
      onError: @escaping @Sendable (any Error) -> Void = { _ in },
      reload: (@Sendable () async throws -> Void)? = nil
    ) {
      self.manager = manager
      self.status = status
      self.onError = onError
      self.reload = reload
    }

    /// Sends `READY=1`, waits until the group shuts down or is cancelled, and sends `STOPPING=1`.
    ///
    /// - Throws: As ``ServiceNotifier/notify(_:deadline:)-([NotifyField],_)``, if the manager
    ///   cannot be told that the process is ready: it would end the process later, without a
    ///   reason.
    public func run() async throws {
      let ready = [NotifyField.ready] + (status.map { [.status($0)] } ?? [])
      if let reload {
        // A signal that comes after READY=1 must not end the process.
        let signals = await UnixSignalsSequence(trapping: .sighup)
        try await manager.notify(ready)
        for await _ in signals.cancelOnGracefulShutdown() { await perform(reload) }
      } else {
        try await manager.notify(ready)
        // Throws if the group is cancelled.
        try? await gracefulShutdown()
      }
      await manager.notifyUncancelled([.stopping], onError)
    }

    private func perform(_ reload: @Sendable () async throws -> Void) async {
      await manager.notifyUncancelled(NotifyField.reloading(), onError)
      do {
        try await reload()
      } catch {
        onError(error)
      }
      await manager.notifyUncancelled([.ready], onError)
    }
  }

  /// Tells the service manager at regular times that the loop turns, if the manager has set a
  /// watchdog (`WatchdogSec=`).
  ///
  /// **Put it first in the group**, so that it ends last: the manager also watches a service that
  /// stops. See ``ServiceNotifier/keepAlive()`` for what is told, and when it stops: if code blocks
  /// the loop's thread.
  ///
  /// Does nothing, and waits for the shutdown, if no manager listens, or it has set no watchdog.
  public struct WatchdogService: Service {
    private let manager: ServiceNotifier

    /// Speaks to the manager that the environment names, or to another one.
    public init(_ manager: ServiceNotifier = ServiceNotifier()) { self.manager = manager }

    /// Sends `WATCHDOG=1` twice in each interval, until the group shuts down or is cancelled.
    ///
    /// - Throws: As ``ServiceNotifier/keepAlive()``. Shutdown and cancellation are no errors.
    public func run() async throws {
      try await cancelWhenGracefulShutdown { try await manager.keepAlive() }
      // Returned directly if there is no watchdog; a service that returns ends its group.
      try? await gracefulShutdown()
    }
  }
#endif
