// SPDX-License-Identifier: Apache-2.0
#if Lifecycle
  public import MessageSockets
  public import ServiceLifecycle

  /// A listener with a handler, as a service.
  ///
  /// ```swift
  /// let server = ListenerService(listener) { request, connection in
  ///   try await connection.sendMessage(request.payload)
  /// }
  /// try await ServiceGroup(
  ///   services: [server], gracefulShutdownSignals: [.sigterm], logger: logger
  /// ).run()
  /// ```
  /// It is a call of ``SocketListener/serve(_:onError:handler:)`` that ends with the group.
  ///
  /// **On graceful shutdown** the listener closes, so that new connections are refused, and the
  /// connections drain: an iteration that is idle ends, a message that is being answered is
  /// answered, and so are those that have arrived. Handlers that then still run are cancelled after
  /// the grace period of the limits. ``run()`` returns when all connections are closed. The same
  /// happens when the group is cancelled, so that this takes as long as the grace period, too.
  public struct ListenerService<Listener: SocketListener>: Service {
    private let listener: Listener
    private let limits: ServeLimits
    private let onError: @Sendable (any Error) -> Void
    private let handler: @Sendable (Listener.Connection) async throws -> Void

    /// Handles each connection with `handler`, which decides what it waits for.
    ///
    /// Iterate over ``MessageSequence/untilDraining()``, or an idle client delays the shutdown by
    /// the whole grace period.
    ///
    /// - Parameters:
    ///   - listener: Closed when the service ends. A service that is never run leaves it open until
    ///     the last reference is gone.
    ///   - limits: How many connections are handled at a time, and the grace period.
    ///   - onError: Called with each error that a handler throws; the server keeps running. Called
    ///     on the connection's loop: do not block.
    ///   - handler: Owns the connection while it runs, on the connection's loop.
    public init(
      _ listener: Listener, limits: ServeLimits = ServeLimits(),
      onError: @escaping @Sendable (any Error) -> Void = { _ in },
      handler: @escaping @Sendable (Listener.Connection) async throws -> Void
    ) {
      self.listener = listener
      self.limits = limits
      self.onError = onError
      self.handler = handler
    }

    /// Handles each message of each connection with `eachMessage`, one after the other on a
    /// connection. On shutdown, idle connections end immediately.
    ///
    /// A connection ends when its peer has ended it, when `eachMessage` throws, and when the
    /// service shuts down.
    ///
    /// - Parameters:
    ///   - listener: See ``init(_:limits:onError:handler:)``, as for the limits and errors.
    ///   - limits: How many connections are handled at a time, and the grace period.
    ///   - onError: Called with each error that `eachMessage` or a receive throws.
    ///   - eachMessage: Gets the message and its connection, on the connection's loop.
    ///     Descriptors that it does not take close with the message.
    public init(
      _ listener: Listener, limits: ServeLimits = ServeLimits(),
      onError: @escaping @Sendable (any Error) -> Void = { _ in },
      eachMessage: @escaping @Sendable (ReceivedMessage, Listener.Connection) async throws -> Void
    ) {
      self.init(listener, limits: limits, onError: onError) { connection in
        for try await message in connection.messages.untilDraining() {
          try await eachMessage(message, connection)
        }
      }
    }

    /// Serves until the group shuts down, or the listener is closed.
    ///
    /// - Throws: As ``SocketListener/serve(_:onError:handler:)``. Shutdown and cancellation are no
    ///   errors. A group takes it for an error if the listener was closed by other code.
    public func run() async throws {
      try await cancelWhenGracefulShutdown {
        try await listener.serve(limits, onError: onError, handler: handler)
      }
    }
  }
#endif
