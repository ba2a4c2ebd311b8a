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

  /// Receives the next message into memory of the caller's, without an allocation (but for more than four descriptors, or control messages of other kinds).
  ///
  /// The bytes are appended to `payload`, at most as many as it has room for: of a stream the rest comes with the next receive, of a seqpacket message it is lost and
  /// ``ReceivedParts/outcome`` says so. Nil at the end, as ``receiveMessage()``.
  ///
  /// - Precondition: `payload` has room for at least one byte; a stream would report its end otherwise.
  /// - Throws: as ``receiveMessage()``; then nothing was appended.
  public nonisolated func receiveMessage(into payload: inout OutputRawSpan) async throws -> ReceivedParts? {
    precondition(payload.freeCapacity > 0, "A receive needs room for at least one byte")
    // SAFETY: the free part of the span stays where it is, and is touched by nobody else, while `payload` is borrowed by this call.
    let memory = unsafe payload.withUnsafeMutableBytes { bytes, used in unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[used...]) }
    let outcome =
      if channel.isOnLoop {
        unsafe try await channel.receive(into: memory, flags: 0)
      } else {
        unsafe try await receiveOnLoop(into: SendableMemory(memory))
      }
    // SAFETY: the kernel has filled so many bytes.
    unsafe payload.withUnsafeMutableBytes { _, used in used += min(outcome.byteCount, memory.count) }
    return ReceivedParts(outcome)
  }

  private func receiveOnLoop(into memory: SendableMemory) async throws -> OperationOutcome {
    unsafe try await channel.receive(into: memory.bytes, flags: 0)
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

/// The caller's memory, on its way to the loop's thread. `@unchecked Sendable`: the caller awaits, and does not touch it meanwhile.
@unsafe
private struct SendableMemory: @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer
  init(_ bytes: UnsafeMutableRawBufferPointer) { unsafe self.bytes = bytes }
}
