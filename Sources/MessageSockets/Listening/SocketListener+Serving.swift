// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

extension SocketListener {
  /// Accepts connections and runs `handler` for each, until the task is cancelled or the listener
  /// is closed.
  ///
  /// ```swift
  /// try await listener.serve { connection in
  ///   for try await request in connection.messages { try await connection.sendMessage(request.payload) }
  /// }
  /// ```
  /// Each handler runs in a task of its own, on its connection's loop (``IOLoop/run(_:)``), so that
  /// no message costs a thread hop; it must not block that thread. The connection is closed when
  /// the handler returns or throws, even if other code refers to it. To keep a connection open,
  /// call ``LoopSocket/release()`` on it.
  ///
  /// **To stop, cancel the task.** This closes the listener: new connections, and those still in
  /// the backlog, are refused. The connections drain (``MessageSocket/startDraining()``): handlers
  /// that iterate with ``MessageSequence/untilDraining()`` answer the requests that have arrived
  /// and end; idle handlers end immediately. Other handlers keep running for the grace period of
  /// `limits` and are then cancelled. The call returns, without an error, when the last handler has
  /// ended and its connection is closed. A handler that ignores cancellation keeps the call
  /// waiting.
  ///
  /// When ``LoopSocket/close()`` is called on the listener, the call accepts no more, the
  /// connections drain, and it waits for the handlers, without a limit until the task is cancelled.
  ///
  /// If the process has no descriptor or memory left, the call waits and tries again, as
  /// ``connections`` does.
  ///
  /// - Parameters:
  ///   - limits: How many connections are handled at a time, and how long handlers keep running at
  ///     the end.
  ///   - onError: Called with each error that a handler throws, except a `CancellationError` after
  ///     the handler was cancelled. The server keeps running. Called on the connection's loop: do
  ///     not block.
  ///   - handler: Owns the connection while it runs.
  /// - Throws: ``SocketError``: `loopShutDown`, `loopFailed`, and errors of accept(2) that do not
  ///   pass. The handlers have ended then too, within the grace period. Cancellation is no error.
  public nonisolated func serve(
    _ limits: ServeLimits = ServeLimits(),
    onError: @escaping @Sendable (any Error) -> Void = { _ in },
    handler: @escaping @Sendable (Connection) async throws -> Void
  ) async throws {
    try await withTaskExecutorPreference(loop.taskExecutor) {
      try await Server(listener: self, limits: limits, onError: onError, handler: handler).run()
    }
  }
}

/// The limits of ``SocketListener/serve(_:onError:handler:)``.
public struct ServeLimits: Sendable, Hashable {
  /// The largest number of connections that are handled at a time. Further connections wait in the
  /// kernel, up to the listener's backlog. Each takes at least one descriptor: stay below
  /// `RLIMIT_NOFILE`.
  ///
  /// - Precondition: 1 or more.
  public var maximumConnections: Int { didSet { Self.check(maximumConnections) } }

  /// How long handlers keep running after the task of `serve` was cancelled, before they are
  /// cancelled too. Zero cancels them immediately.
  public var gracePeriod: Duration

  /// 256 connections, 10 seconds.
  public init(maximumConnections: Int = 256, gracePeriod: Duration = .seconds(10)) {
    Self.check(maximumConnections)
    self.maximumConnections = maximumConnections
    self.gracePeriod = gracePeriod
  }

  private static func check(_ connections: Int) {
    precondition(connections > 0, "A server has room for at least one connection")
  }
}
