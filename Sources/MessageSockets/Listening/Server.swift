// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// One run of ``SocketListener/serve(_:onError:handler:)``.
///
/// Two tasks: the caller's accepts, and ends at once when it is cancelled; the handlers' own, which
/// is no child of it, is cancelled when the grace time has passed.
/// ```
/// places ──▶ accept, authorize ──connections──▶ handlers ──▶ handle ▶ close
///    ▲                                                                │
///    └────────────────────────────────────────────────────────────────┘
/// ```
struct Server<Listener: SocketListener>: Sendable {
  typealias Connection = Listener.Connection

  private let listener: Listener
  private let limits: ServeLimits
  private let onError: @Sendable (any Error) -> Void
  private let handler: @Sendable (Connection) async throws -> Void

  /// An element for each connection that may be accepted.
  private let places: (stream: AsyncStream<Void>, continuation: AsyncStream<Void>.Continuation)
  private let connections:
    (stream: AsyncStream<Connection>, continuation: AsyncStream<Connection>.Continuation)

  init(
    listener: Listener, limits: ServeLimits, onError: @escaping @Sendable (any Error) -> Void,
    handler: @escaping @Sendable (Connection) async throws -> Void
  ) {
    self.listener = listener
    self.limits = limits
    self.onError = onError
    self.handler = handler
    places = AsyncStream.makeStream()
    connections = AsyncStream.makeStream()
    for _ in 0..<limits.connections { places.continuation.yield() }
  }

  /// Returns when everything has ended.
  func run() async throws {
    let (stopped, stop) = AsyncStream.makeStream(of: Void.self)
    let handlers = Task(executorPreference: listener.loop.taskExecutor) { await handleAll() }
    let grace = Task(executorPreference: listener.loop.taskExecutor) {
      for await _ in stopped {}
      // Ends early when there is nothing left to wait for.
      try? await listener.loop.sleep(for: limits.graceTime)
      handlers.cancel()
    }
    let outcome = await withTaskCancellationHandler {
      let outcome = await acceptAll()
      await listener.close()
      if case .failure = outcome { stop.finish() }
      connections.continuation.finish()
      await handlers.value
      return outcome
    } onCancel: {
      stop.finish()
    }
    grace.cancel()
    await grace.value
    try outcome.get()
  }

  /// Accepts while there are places. Ends, without an error, when the task is cancelled or the
  /// listener closed.
  private func acceptAll() async -> Result<Void, any Error> {
    var arrivals = listener.connections.makeAsyncIterator()
    do {
      for await _ in places.stream {
        guard let connection = try await arrivals.next(isolation: #isolation) else { break }
        connections.continuation.yield(connection)
      }
    } catch is CancellationError {
    } catch {
      return .failure(error)
    }
    return .success(())
  }

  private func handleAll() async {
    await withDiscardingTaskGroup { group in
      for await connection in connections.stream {
        group.addTask(executorPreference: connection.loop.taskExecutor) { await handle(connection) }
      }
    }
  }

  /// Whatever happens in here, the connection is closed, and its place given back.
  private func handle(_ connection: Connection) async {
    do {
      try await connection.loop.run { try await handler(connection) }
    } catch is CancellationError where Task.isCancelled {
    } catch {
      onError(error)
    }
    await connection.close()
    places.continuation.yield()
  }
}
