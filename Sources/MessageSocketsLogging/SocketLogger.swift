// SPDX-License-Identifier: Apache-2.0
#if Logging
  internal import Dispatch
  public import Logging
  @_exported public import MessageSockets
  internal import Synchronization

  /// Writes what happens to sockets to a logger of swift-log, on a thread of its own: a back end
  /// that blocks holds up no loop.
  ///
  /// ```swift
  /// let log = SocketLogger(Logger(label: "server"))
  /// log.driver(of: loop)
  /// let listener = try UnixListener<UnixStream>.bind(
  ///   to: address, authorization: .sameUser.logging(to: log))
  /// try await listener.serve(onError: { log.failure($0) }) { connection in … }
  /// ```
  /// At most `limit` entries wait for the back end. Further ones are dropped and counted
  /// (``droppedEntries``), and the next entry that is written has their number as
  /// `dropped_entries`. An entry costs its caller the making of its metadata; those below the
  /// logger's level are not made.
  public final class SocketLogger: Sendable {
    private let logger: Logger
    private let limit: Int
    private let queue = DispatchQueue(label: "message-sockets.log")
    private let waiting = Atomic(0)
    private let dropped = Atomic(0)
    /// Of the dropped entries, those that no entry has told of.
    private let untold = Atomic(0)

    /// - Parameters:
    ///   - logger: Its level holds, and its metadata is a part of each entry.
    ///   - limit: How many entries may wait for the back end, 1 or more.
    public init(_ logger: Logger, limit: Int = 1000) {
      precondition(limit > 0, "At least one entry has to wait for the back end")
      self.logger = logger
      self.limit = limit
    }

    /// How many entries were dropped, because the back end did not take those before them.
    public var droppedEntries: Int { dropped.load(ordering: .relaxed) }

    /// Logs which driver a loop runs on, and why: at the level `info`, or `warning` if io_uring
    /// was tried and refused.
    public func driver(of loop: IOLoop) {
      let driver = loop.driver
      let wasRefused = driver.kind == .epoll && driver.reason.isRefusal
      write(wasRefused ? .warning : .info, "the loop runs on \(driver.kind)") {
        loop.logMetadata
      }
    }

    /// Logs a peer that a listener has refused. See ``Authorization/logging(to:at:)``.
    public func refusal(_ refusal: PeerRefusal, at level: Logger.Level = .notice) {
      write(level, "a peer was refused") {
        var metadata = refusal.peer.logMetadata
        if let error = refusal.error { metadata["error"] = .visible(error) }
        return metadata
      }
    }

    /// Logs an error of a socket: a violated policy and an incomplete message at the level
    /// `warning`, the end of a peer at `debug`, and others at `error`. For the `onError` of
    /// ``SocketListener/serve(_:onError:handler:)``.
    public func failure(_ error: any Error) {
      guard let failure = error as? SocketError else {
        return write(.error, "a socket's handler failed") { ["error": .visible(error)] }
      }
      switch failure.code {
      case .policyViolated:
        write(.warning, "a peer violated the policy") { failure.logMetadata }
      case .messageIncomplete:
        write(.warning, "a message was incomplete") { failure.logMetadata }
      case .peerClosed, .connectionReset:
        write(.debug, "a peer ended the connection") { failure.logMetadata }
      default: write(.error, "a socket failed") { failure.logMetadata }
      }
    }

    /// Waits until the entries so far were written, at most for a time. Blocks the calling thread:
    /// for the end of a program, not for a loop. Returns false if the back end has not taken them.
    @discardableResult
    public func flush(atMost time: Duration = .seconds(1)) -> Bool {
      let done = DispatchSemaphore(value: 0)
      queue.async { done.signal() }
      let (seconds, attoseconds) = max(time, .zero).components
      let nanoseconds =
        min(seconds, 1_000_000) * 1_000_000_000 + attoseconds / 1_000_000_000
      return done.wait(timeout: .now() + .nanoseconds(Int(nanoseconds))) == .success
    }

    private func write(
      _ level: Logger.Level, _ message: Logger.Message, _ metadata: () -> Logger.Metadata
    ) {
      guard level >= logger.logLevel else { return }
      guard waiting.add(1, ordering: .relaxed).newValue <= limit else {
        waiting.subtract(1, ordering: .relaxed)
        dropped.add(1, ordering: .relaxed)
        untold.add(1, ordering: .relaxed)
        return
      }
      let known = metadata()
      queue.async { [self] in
        var metadata = known
        let missing = untold.exchange(0, ordering: .relaxed)
        if missing > 0 { metadata["dropped_entries"] = "\(missing)" }
        logger.log(level: level, message, metadata: metadata, source: "MessageSockets")
        waiting.subtract(1, ordering: .relaxed)
      }
    }
  }

  extension Authorization {
    /// This rule, with an entry for each peer that is refused; see ``SocketLogger/refusal(_:at:)``.
    /// It takes the place of a closure that ``Authorization/reporting(_:)`` was given before. To
    /// have both, call ``SocketLogger/refusal(_:at:)`` in that closure.
    public func logging(to log: SocketLogger, at level: Logger.Level = .notice) -> Authorization {
      reporting { log.refusal($0, at: level) }
    }
  }
#endif
