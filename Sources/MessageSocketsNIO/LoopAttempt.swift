// SPDX-License-Identifier: Apache-2.0
#if NIO
  internal import MessageSockets
  internal import NIOCore

  /// One piece of work on an event loop that may have shut down, with the descriptor that it needs.
  ///
  /// An event loop that has shut down drops what it is given, and tells no future: a promise would
  /// wait for ever, or end the process in debug builds. So the work belongs to this object, whose
  /// end is an answer, too.
  // SAFETY: @unchecked because one owner at a time uses it: the caller until `execute`, then the
  // event loop. The queue of the event loop orders them.
  final class LoopAttempt<Output: Sendable>: @unchecked Sendable {
    typealias Outcome = Result<Output, NIOHandOverError>

    private var descriptor: OwnedFd?
    private var continuation: CheckedContinuation<Outcome, Never>?

    private init(
      _ descriptor: consuming OwnedFd?, _ continuation: CheckedContinuation<Outcome, Never>
    ) {
      self.descriptor = descriptor
      self.continuation = continuation
    }

    deinit {
      // First the descriptor, so that the caller finds it closed.
      descriptor = nil
      continuation?.resume(returning: .failure(NIOHandOverError(.eventLoopShutDown)))
    }

    /// Runs `body` on the event loop; it calls ``finish(_:)`` once.
    ///
    /// - Returns: What ``finish(_:)`` was given, or the failure `eventLoopShutDown`; the descriptor
    ///   is then closed.
    static func run(
      with descriptor: consuming OwnedFd? = nil, on loop: any EventLoop,
      _ body: @escaping @Sendable (LoopAttempt) -> Void
    ) async -> Outcome {
      // A closure cannot consume a captured value.
      var descriptor = descriptor.take()
      return await withCheckedContinuation { continuation in
        let attempt = LoopAttempt(descriptor.take(), continuation)
        loop.execute { body(attempt) }
      }
    }

    /// Gives the descriptor away: from here on the caller closes it.
    func takeDescriptor() -> OwnedFd? { descriptor.take() }

    func finish(_ outcome: Outcome) {
      // The end of this object may come later than the caller's next step.
      descriptor = nil
      continuation.take()?.resume(returning: outcome)
    }
  }
#endif
