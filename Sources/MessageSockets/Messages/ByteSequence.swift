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

  /// The same bytes up to the time when the socket's server drains: from then on those that have
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
