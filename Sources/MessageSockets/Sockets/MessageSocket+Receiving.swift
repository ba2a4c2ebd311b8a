internal import Ancillary
public import SocketEngine

extension MessageSocket {
  /// Receives the next message, or nil at the end: the peer has closed or shut down its sending side. The C name is recvmsg(2).
  ///
  /// The message owns the descriptors that came with it. Waits until something arrives; concurrent calls are served in the order in which they reached the
  /// loop, one after the other.
  ///
  /// On a stream a "message" is what one recvmsg(2) returns: bytes without boundaries, up to ``IOLoop/Configuration/receiveBufferSize``. Descriptors come with the
  /// first byte of the send that carried them, and the read stops after that send; but plain bytes sent before may stand in front.
  /// On seqpacket an empty message without descriptors cannot be told from the end, and reads as nil.
  ///
  /// - Throws: ``SocketError``: `connectionReset`, `closed`, `loopShutDown`, `outOfMemory`. `CancellationError` when the task was cancelled: then no message was taken
  ///   from the socket. A message that won the race against the cancellation is returned.
  ///   Not an error: truncation and descriptors that could not be delivered; see ``ReceivedMessage/outcome``.
  public nonisolated func receiveMessage() async throws -> ReceivedMessage? {
    try await receive(timeout: nil)
  }

  /// Receives the next message, or gives up at `deadline`. See ``receiveMessage()``.
  ///
  /// - Throws: as ``receiveMessage()``, and ``SocketError`` with the code `deadlineExceeded`: then no message was taken from the socket. A message that has
  ///   arrived is returned, also if the deadline has passed meanwhile, or had passed before the call.
  public nonisolated func receiveMessage(deadline: ContinuousClock.Instant) async throws -> ReceivedMessage? {
    try await receive(timeout: deadline - .now)
  }

  /// The messages that arrive from now on; ends when the peer has closed.
  ///
  /// The kernel delivers ahead of demand, within a window of 32 messages or 256 descriptors (``messages(window:)``); what is beyond stays in the socket's
  /// queue, and slows the sender down. Leaving the loop early, or cancelling its task, loses nothing: what was received ahead is what the next
  /// receive returns. Several iterations at once share the messages out among them.
  public nonisolated var messages: MessageSequence<Self> { messages(window: ReceiveWindow()) }

  /// The same with a window of your own. It holds for the socket: of several iterations the last to ask sets it.
  ///
  /// Beyond the window the socket may hold what was on its way when the window became full: at most ``IOLoop/Configuration/receiveBuffers`` messages.
  public nonisolated func messages(window: ReceiveWindow) -> MessageSequence<Self> { MessageSequence(socket: self, window: window) }

  /// One step of an iteration.
  nonisolated func nextMessage(window: ReceiveWindow) async throws -> ReceivedMessage? {
    if channel.isOnLoop {
      ReceivedMessage(try await channel.receiveAhead(window: window))
    } else {
      try await nextMessageOnLoop(window: window)
    }
  }

  private func nextMessageOnLoop(window: ReceiveWindow) async throws -> ReceivedMessage? {
    ReceivedMessage(try await channel.receiveAhead(window: window))
  }

  private nonisolated func receive(timeout: Duration?) async throws -> ReceivedMessage? {
    if channel.isOnLoop {
      ReceivedMessage(try await channel.receive(flags: 0, timeout: timeout))
    } else {
      try await receiveOnLoop(timeout: timeout)
    }
  }

  private func receiveOnLoop(timeout: Duration?) async throws -> ReceivedMessage? {
    ReceivedMessage(try await channel.receive(flags: 0, timeout: timeout))
  }
}
