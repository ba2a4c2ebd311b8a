internal import SocketEngine
internal import SystemPackage

/// The connections of a listener, as they arrive. See ``SocketListener/connections``.
public struct ConnectionSequence<Listener: SocketListener>: AsyncSequence, Sendable {
  public typealias Element = Listener.Connection
  public typealias Failure = any Error

  private let listener: Listener

  init(listener: Listener) { self.listener = listener }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listener: listener) }

  /// Accepts one connection a step. Ends when the listener is closed; after an error there is nothing more.
  ///
  /// When this process or the system has no descriptor or memory left (`EMFILE`, `ENFILE`, `ENOMEM`) the step waits, 10 ms at first and up to a second, and
  /// tries again: the connections wait in the kernel meanwhile. A connection that its peer has given up already (`ECONNABORTED`) is passed over.
  public struct AsyncIterator: AsyncIteratorProtocol {
    private let listener: Listener
    private var isFinished = false

    init(listener: Listener) { self.listener = listener }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> Listener.Connection? {
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
