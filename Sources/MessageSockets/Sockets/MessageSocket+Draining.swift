// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

// A server that stops lets its connections drain: what has arrived is handled, and then they end.

extension MessageSocket {
  /// Whether the connection's server accepts no more connections and waits for its handlers to
  /// return; true from ``startDraining()`` on. May be asked on any thread, and costs an atomic
  /// load.
  public nonisolated var isDraining: Bool { channel.isDraining }

  /// Tells those who handle this socket that they are to come to an end.
  ///
  /// Iterations made by ``MessageSequence/untilDraining()`` and ``ByteSequence/untilDraining()``
  /// end as soon as they would have to wait, ``waitUntilDraining()`` returns, and ``isDraining`` is
  /// true. All other calls go on as before: nothing is cancelled or closed, and nothing that was
  /// received is lost. Messages are no longer received ahead of demand.
  ///
  /// ``SocketListener/serve(_:onError:handler:)`` calls it for all of its connections when it stops
  /// accepting. Call it yourself for connections that you handle otherwise. Calling it again
  /// changes nothing. Returns without a wait, on any thread; there is no way back.
  public nonisolated func startDraining() { channel.startDraining() }

  /// Waits until the socket drains; returns directly if it does already.
  ///
  /// For a handler that waits for something else than messages: run it in a task of its own beside
  /// that.
  ///
  /// - Throws: ``SocketError``: `closed` (the socket was closed or released first), `loopShutDown`,
  ///   `loopFailed`. `CancellationError` when the task was cancelled.
  public func waitUntilDraining() async throws { try await channel.waitUntilDraining() }

  /// One step of an iteration that ends with draining. Without a window the socket's stays as it
  /// is.
  nonisolated func nextMessageUntilDraining(
    window: ReceiveWindow?
  ) async throws -> ReceivedMessage? {
    let channel = channel
    guard channel.isOnLoop else { return try await nextMessageUntilDrainingOnLoop(window: window) }
    guard let ended = try await channel.receiveUntilDraining(window: window) else { return nil }
    return try ReceivedMessage.received(ended, channel)
  }

  private func nextMessageUntilDrainingOnLoop(window: ReceiveWindow?) async throws
    -> ReceivedMessage?
  {
    guard let ended = try await channel.receiveUntilDraining(window: window) else { return nil }
    return try ReceivedMessage.received(ended, channel)
  }

  /// The same for bytes, of which a part may be given back.
  nonisolated func nextPieceUntilDraining(window: ReceiveWindow?) async throws -> OperationOutcome?
  {
    let channel = channel
    guard channel.isOnLoop else { return try await nextPieceUntilDrainingOnLoop(window: window) }
    guard let ended = try await channel.receiveUntilDraining(window: window) else { return nil }
    return ended.takeOutcome()
  }

  private func nextPieceUntilDrainingOnLoop(
    window: ReceiveWindow?
  ) async throws -> OperationOutcome? {
    guard let ended = try await channel.receiveUntilDraining(window: window) else { return nil }
    return ended.takeOutcome()
  }
}
