// SPDX-License-Identifier: Apache-2.0
#if NIO
  internal import CMessageSockets
  public import MessageSockets
  public import NIOCore
  internal import NIOPosix
  internal import SystemPackage

  extension Channel {
    /// Takes the socket out of a channel, and closes the channel; the connection goes on.
    ///
    /// SwiftNIO can close a descriptor, but not give it up. So this makes another descriptor of the
    /// open file (fcntl(2), `F_DUPFD_CLOEXEC`) and closes the channel's in the same turn of the
    /// event loop. Closing one of two descriptors shuts nothing down, and the peer does not notice.
    /// Make a socket of the result: `TCPStream(adopting:)`, `UnixStream(adopting:)`,
    /// `TCPListener(adopting:)`.
    ///
    /// What is read and written:
    /// - Bytes that SwiftNIO has **read** went to the handlers of the channel, and are not given
    ///   back. With the channel option `autoRead` off, no byte is read that `read()` did not ask
    ///   for, and what arrived is in the kernel for the new owner.
    /// - Bytes that were **written** to the channel and wait in it make the call throw
    ///   `bytesUnsent`. Bytes that a handler keeps for itself are lost with the handler.
    /// - The close passes by the handlers, so that none of them writes a farewell to a connection
    ///   that goes on (TLS, WebSocket). They see `channelInactive`, as at every close.
    /// - `O_NONBLOCK` stays set on the open file. Sockets of this package work with it.
    ///
    /// Not cancellable.
    ///
    /// - Returns: The descriptor of the connection, with close-on-exec set. The channel is closed.
    /// - Throws: ``NIOHandOverError``: `channelClosed` and `eventLoopShutDown`, where SwiftNIO has
    ///   closed the descriptor; `unsupportedChannel`, `notConnected`, `bytesUnsent`,
    ///   `outOfDescriptors`, `system`, where the channel goes on as before.
    public func takeDescriptor() async throws(NIOHandOverError) -> OwnedFd {
      // The loop of an EmbeddedChannel runs nothing by itself.
      guard ClientBootstrap(validatingGroup: eventLoop) != nil else {
        throw NIOHandOverError(.unsupportedChannel)
      }
      let channel = self
      let number = try await LoopAttempt<Int32>.run(on: eventLoop) { attempt in
        do throws(NIOHandOverError) {
          // The continuation of the caller takes a number only; the caller owns it then.
          let number = try channel.duplicateDescriptor().release().rawValue
          channel.closeBehindHandlers { attempt.finish(.success(number)) }
        } catch { attempt.finish(.failure(error)) }
      }.get()
      return OwnedFd(adopting: FileDescriptor(rawValue: number))
    }

    /// Makes another descriptor of the channel's socket, if it can be taken now.
    private func duplicateDescriptor() throws(NIOHandOverError) -> OwnedFd {
      let outcome: Result<Int32, NIOHandOverError>?
      do {
        outcome = try pipeline.syncOperations.withUnsafeTransportIfAvailable {
          (number: NIOBSDSocket.Handle) in duplicate(number)
        }
      } catch {
        // SwiftNIO lends no descriptor that it has closed.
        throw NIOHandOverError(.channelClosed, underlying: error)
      }
      // A pipeline knows its channel until the end of the turn in which that was closed.
      guard let outcome else {
        throw NIOHandOverError(isActive ? .unsupportedChannel : .channelClosed)
      }
      return OwnedFd(adopting: FileDescriptor(rawValue: try outcome.get()))
    }

    private func duplicate(_ number: Int32) -> Result<Int32, NIOHandOverError> {
      guard isActive else { return .failure(NIOHandOverError(.notConnected)) }
      // A channel that listens has no such option, and asking for it would end the process.
      if !StreamCheck.isListening(number),
        let count = try? syncOptions?.getOption(.bufferedWritableBytes), count > 0
      {
        return .failure(NIOHandOverError(.bytesUnsent, detail: "\(count) bytes"))
      }
      let copy = cms_duplicate(number)
      guard copy < 0 else { return .success(copy) }
      let errno = Errno(rawValue: -copy)
      let isShortage = errno == .tooManyOpenFiles || errno == .tooManyOpenFilesInSystem
      return .failure(NIOHandOverError(isShortage ? .outOfDescriptors : .system, underlying: errno))
    }

    /// Closes the channel without asking its handlers. `done` runs before this returns.
    private func closeBehindHandlers(_ done: @escaping @Sendable () -> Void) {
      let promise = eventLoop.makePromise(of: Void.self)
      // Whatever close(2) says, the descriptor is gone.
      promise.futureResult.whenComplete { _ in done() }
      let first = FirstHandler()
      do {
        try pipeline.syncOperations.addHandler(first, position: .first)
        first.context?.close(mode: .all, promise: promise)
      } catch { close(mode: .all, promise: promise) }
    }
  }

  /// Stands between the channel and its other handlers: what starts here passes by those.
  private final class FirstHandler: ChannelOutboundHandler {
    typealias OutboundIn = NIOAny
    typealias OutboundOut = NIOAny

    private(set) var context: ChannelHandlerContext?

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }
  }
#endif
