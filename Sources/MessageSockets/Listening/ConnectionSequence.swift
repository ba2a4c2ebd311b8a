internal import SocketEngine

/// The connections of a listener, as they arrive. See ``UnixListener/connections``.
public struct ConnectionSequence<Connection: UnixConnection>: AsyncSequence, Sendable {
  public typealias Element = Connection
  public typealias Failure = any Error

  private let listener: UnixListener<Connection>

  init(listener: UnixListener<Connection>) { self.listener = listener }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listener: listener) }

  /// Accepts one connection a step. Ends when the listener is closed; after an error there is nothing more.
  public struct AsyncIterator: AsyncIteratorProtocol {
    private let listener: UnixListener<Connection>
    private var isFinished = false

    init(listener: UnixListener<Connection>) { self.listener = listener }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> Connection? {
      if isFinished { return nil }
      do {
        return try await listener.accept()
      } catch let error as SocketError where error.code == .closed {
        isFinished = true
        return nil
      } catch {
        isFinished = true
        throw error
      }
    }
  }
}
