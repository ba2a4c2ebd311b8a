// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine
internal import SystemPackage

/// The connections of a listener, as they arrive. See ``SocketListener/connections``.
public struct ConnectionSequence<Listener: SocketListener>: AsyncSequence, Sendable {
  public typealias Element = Listener.Connection
  public typealias Failure = any Error

  private let listener: Listener

  init(listener: Listener) { self.listener = listener }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listener: listener) }

  /// Accepts one connection a step. Ends when the listener is closed; after an error there is
  /// nothing more.
  ///
  /// When this process or the system has no descriptor or memory left (`EMFILE`, `ENFILE`,
  /// `ENOMEM`) the step waits, 10 ms at first and up to a second, and tries again: the connections
  /// wait in the kernel meanwhile. So it does after the errors of a new connection that accept(2)
  /// reports (`EPROTO`, `ENETDOWN`, `EHOSTUNREACH`, `EPERM` of a firewall …). A connection that its
  /// peer has given up already (`ECONNABORTED`) is passed over.
  public struct AsyncIterator: AsyncIteratorProtocol {
    private let listener: Listener
    private var isFinished = false

    init(listener: Listener) { self.listener = listener }

    public mutating func next(isolation: isolated (any Actor)?) async throws -> Listener.Connection?
    {
      if isFinished { return nil }
      do {
        let connection = try await nextConnection(isolation: isolation)
        isFinished = connection == nil
        return connection
      } catch {
        isFinished = true
        throw error
      }
    }

    private func nextConnection(isolation: isolated (any Actor)?) async throws -> Listener
      .Connection?
    {
      var pause = Duration.milliseconds(10)
      while true {
        do {
          return try await listener.accept()
        } catch let error as SocketError where error.code == .closed {
          return nil
        } catch let error as SocketError where error.errno == .connectionAbort {
          continue
        } catch let error as SocketError where error.passes {
          try await listener.loop.sleep(for: pause)
          pause = Swift.min(pause * 2, .seconds(1))
        }
      }
    }
  }
}

extension SocketError {
  /// Whether accept(2) may be tried again: the error is a shortage that may pass, or an error of
  /// the connection and not of the listener.
  fileprivate var passes: Bool {
    switch errno {
    case .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory, .noBufferSpace: true
    // The last errno is ENONET.
    case .networkDown, .protocolError, .protocolNotAvailable, .hostIsDown, .noRouteToHost,
      .notSupportedOnSocket, .networkUnreachable,
      .notPermitted, Errno(rawValue: 64):
      true
    default: false
    }
  }
}
