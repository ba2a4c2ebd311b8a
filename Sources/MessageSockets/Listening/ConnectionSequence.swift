internal import SocketEngine
internal import SystemPackage

/// The connections of a listener, as they arrive. See ``UnixListener/connections``.
public struct ConnectionSequence<Connection: UnixConnection>: AsyncSequence, Sendable {
  public typealias Element = Connection
  public typealias Failure = any Error

  private let listener: UnixListener<Connection>

  init(listener: UnixListener<Connection>) { self.listener = listener }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listener: listener) }

  /// Accepts one connection a step. Ends when the listener is closed; after an error there is nothing more.
  ///
  /// When this process or the system has no descriptor or memory left (`EMFILE`, `ENFILE`, `ENOMEM`) the step waits, 10 ms at first and up to a second, and
  /// tries again: the connections wait in the kernel meanwhile. A connection that its peer has given up already (`ECONNABORTED`) is passed over.
  public struct AsyncIterator: AsyncIteratorProtocol {
    private let listener: UnixListener<Connection>
    private var isFinished = false

    init(listener: UnixListener<Connection>) { self.listener = listener }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> Connection? {
      if isFinished { return nil }
      var pause = Duration.milliseconds(10)
      while true {
        do {
          return try await listener.accept()
        } catch let error as SocketError where error.code == .closed {
          isFinished = true
          return nil
        } catch let error as SocketError where error.errno == .connectionAbort {
          continue
        } catch let error as SocketError where error.code == .outOfDescriptors || error.code == .outOfMemory {
          try await listener.loop.sleep(for: pause)
          pause = Swift.min(pause * 2, .seconds(1))
        } catch {
          isFinished = true
          throw error
        }
      }
    }
  }
}
