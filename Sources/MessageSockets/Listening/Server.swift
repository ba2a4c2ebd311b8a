// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// One run of ``SocketListener/serve(_:onError:handler:)``.
///
/// There are two tasks. The caller's task accepts, and ends immediately when it is cancelled. The
/// handlers' task is not its child; it is cancelled after the grace period.
struct Server<Listener: SocketListener>: Sendable {
  typealias Connection = Listener.Connection

  private let listener: Listener
  private let limits: ServeLimits
  private let onError: @Sendable (any Error) -> Void
  private let handler: @Sendable (Connection) async throws -> Void

  /// The connections that handlers are handling.
  private let handled = HandledConnections<Connection>()
  private let places: Places
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
    places = Places(limits.maximumConnections)
    connections = AsyncStream.makeStream()
  }

  /// Returns when everything has ended.
  func run() async throws {
    let (stopped, stop) = AsyncStream.makeStream(of: Void.self)
    let handlers = Task(executorPreference: listener.loop.taskExecutor) { await handleAll() }
    let grace = Task(executorPreference: listener.loop.taskExecutor) {
      for await _ in stopped {}
      // Ends early when there is nothing left to wait for.
      try? await listener.loop.sleep(for: limits.gracePeriod)
      handlers.cancel()
    }
    let outcome = await withTaskCancellationHandler {
      let outcome = await acceptAll()
      handled.startDraining()
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

  /// Accepts while there are places. Ends without an error when the task is cancelled or the
  /// listener is closed.
  private func acceptAll() async -> Result<Void, any Error> {
    var arrivals = listener.connections.makeAsyncIterator()
    do {
      while await places.take() {
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

  /// Handles a connection. Closes it and frees its place, however the handler ends.
  private func handle(_ connection: Connection) async {
    handled.add(connection)
    do {
      try await connection.loop.run { try await handler(connection) }
    } catch is CancellationError where Task.isCancelled {
    } catch {
      onError(error)
    }
    handled.remove(connection)
    await connection.close()
    places.giveBack()
  }
}

/// The number of connections that may still be accepted.
private final class Places: Sendable {
  private let free: TSanVisibleMutex<Int>
  /// Each element means that at least one place was freed.
  private let changes = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

  init(_ count: Int) { free = TSanVisibleMutex(count) }

  /// Waits for a place; returns false if the task was cancelled. Only one task may wait.
  func take() async -> Bool {
    var given = changes.stream.makeAsyncIterator()
    while !Task.isCancelled {
      let isTaken = free.withLock { free in
        if free == 0 { return false }
        free -= 1
        return true
      }
      if isTaken { return true }
      _ = await given.next(isolation: #isolation)
    }
    return false
  }

  func giveBack() {
    free.withLock { $0 += 1 }
    changes.continuation.yield()
  }
}

/// The connections that a server is handling. It tells them when the server drains.
private final class HandledConnections<Connection: MessageSocket>: Sendable {
  private struct State {
    var connections: [ObjectIdentifier: Connection] = [:]
    var isDraining = false
  }

  private let state = TSanVisibleMutex(State())

  /// Adds a connection, even if the server already drains: it was accepted before.
  func add(_ connection: Connection) {
    let isDraining = state.withLock {
      $0.connections[ObjectIdentifier(connection)] = connection
      return $0.isDraining
    }
    if isDraining { connection.startDraining() }
  }

  func remove(_ connection: Connection) {
    state.withLock { _ = $0.connections.removeValue(forKey: ObjectIdentifier(connection)) }
  }

  func startDraining() {
    let connections = state.withLock {
      $0.isDraining = true
      return Array($0.connections.values)
    }
    for connection in connections { connection.startDraining() }
  }
}
