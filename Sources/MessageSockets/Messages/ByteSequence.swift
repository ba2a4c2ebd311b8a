// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// The bytes of a stream, as they arrive. See ``StreamSocket/bytes``.
public struct ByteSequence<Socket: StreamSocket>: AsyncSequence, Sendable {
  public typealias Element = UInt8
  public typealias Failure = any Error

  private let socket: Socket
  private let window: ReceiveWindow?
  private let policy: ReceivePolicy?
  private var endsWithDraining = false

  init(socket: Socket, window: ReceiveWindow?, policy: ReceivePolicy?) {
    self.socket = socket
    self.window = window
    self.policy = policy
  }

  /// The bytes up to the time when the socket's server drains: from then on the bytes that have
  /// arrived, and the end where the iteration would have to wait. See
  /// ``MessageSequence/untilDraining()``.
  public func untilDraining() -> ByteSequence {
    var sequence = self
    sequence.endsWithDraining = true
    return sequence
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(
      unread: UnreadBytes(
        socket: socket, window: window, policy: policy, endsWithDraining: endsWithDraining))
  }

  /// Returns a byte of those that have been received, and receives when there are none left. Copies
  /// of an iterator go on together.
  public struct AsyncIterator: AsyncIteratorProtocol {
    @usableFromInline let unread: UnreadBytes<Socket>

    init(unread: UnreadBytes<Socket>) { self.unread = unread }

    @inlinable
    public mutating func next(isolation: isolated (any Actor)?) async throws -> UInt8? {
      if let byte = unread.popFirst() { return byte }
      return try await unread.receive() ? unread.popFirst() : nil
    }
  }
}

/// The bytes that an iteration has received but not returned. At its end they go back to the
/// socket.
@usableFromInline
final class UnreadBytes<Socket: StreamSocket> {
  private let socket: Socket
  private let window: ReceiveWindow?
  /// The policy to set before the first step.
  private var policy: ReceivePolicy?
  @usableFromInline var bytes: [UInt8] = []
  @usableFromInline var position = 0
  private let endsWithDraining: Bool
  /// The other data that came with these bytes. It goes back with them, or ends when they are used
  /// up.
  private var company: OperationOutcome?
  private var isFinished = false

  init(socket: Socket, window: ReceiveWindow?, policy: ReceivePolicy?, endsWithDraining: Bool) {
    self.socket = socket
    self.window = window
    self.policy = policy
    self.endsWithDraining = endsWithDraining
  }

  deinit {
    guard var piece = company.take() else { return }
    guard position < bytes.count else { return piece.discard() }
    piece.putBytes(bytes, after: position)
    socket.channel.unread(piece)
  }

  @inlinable
  func popFirst() -> UInt8? {
    guard position < bytes.count else { return nil }
    defer { position += 1 }
    return bytes[position]
  }

  /// Receives the next bytes; returns false at the end.
  @usableFromInline
  nonisolated(nonsending) func receive() async throws -> Bool {
    if isFinished { return false }
    do {
      if let policy = policy.take() { try await socket.setReceivePolicy(policy) }
      if let used = company.take() { used.discard() }
      let next =
        endsWithDraining
        ? try await socket.nextPieceUntilDraining(window: window)
        : try await socket.nextPiece(window: window)
      guard var piece = next, !piece.isEnd else {
        isFinished = true
        return false
      }
      (bytes, position) = piece.takeBytes()
      company = consume piece
      return true
    } catch {
      isFinished = true
      throw error
    }
  }
}

// MARK: Steps of an iteration

extension StreamSocket {
  /// One step of an iteration over bytes, part of which may be put back later. If `window` is nil,
  /// the socket keeps its window.
  nonisolated func nextPiece(window: ReceiveWindow?) async throws -> OperationOutcome {
    let channel = channel
    guard channel.isOnLoop else { return try await nextPieceOnLoop(window: window) }
    return try await channel.receiveAhead(window: window).takeOutcome()
  }

  private func nextPieceOnLoop(window: ReceiveWindow?) async throws -> OperationOutcome {
    try await channel.receiveAhead(window: window).takeOutcome()
  }

  /// One step of an iteration over bytes that ends when the socket drains.
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
