// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine

extension MessageSocket {
  /// Receives the next message, or nil at the end: the peer has closed or shut down its sending
  /// side. The C name is recvmsg(2).
  ///
  /// The message owns the descriptors that came with it. Waits until something arrives; concurrent
  /// calls are served in the order in which they reached the loop, one after the other.
  ///
  /// On a stream a "message" is what one recvmsg(2) returns: bytes without boundaries, up to
  /// ``IOLoop/Configuration/receiveBufferSize``. Descriptors come with the first byte of the send
  /// that carried them, and the read stops after that send; but plain bytes sent before may stand
  /// in front. On seqpacket an empty message without descriptors cannot be told from the end, and
  /// reads as nil.
  ///
  /// - Parameters:
  ///   - options: Flags for this call.
  ///     - ``ReceiveOptions/peek`` returns a copy and leaves the message; the copy has descriptors
  ///       of its own.
  ///     - ``ReceiveOptions/errorQueue`` waits for the next entry of the socket's error queue,
  ///       which messages do not pass: ``ControlMessageContainer/extendedError`` (with
  ///       ``SocketOption/errorQueueV4``).
  ///     - ``ReceiveOptions/outOfBand`` does not wait for messages, nor for a byte that was not
  ///       announced: then it fails (`EINVAL`). The kernel drops the byte when the stream is read
  ///       past it, as receiving ahead does (``messages``, on io_uring): iterate in a window of
  ///       fewer than 253 descriptors where such bytes matter.
  ///     - ``ReceiveOptions/fullLength`` makes ``ReceivedMessage/byteCount`` the length that the
  ///       message had; one that was cut is returned then. Without meaning on a stream: Linux would
  ///       throw its bytes away, and is never asked.
  ///     - ``ReceiveOptions/waitForAll`` is not kept: Linux returns what is there from a receive
  ///       that has room for control messages.
  ///   - deadline: When to give up. A message that has arrived is returned, also if
  ///     the deadline has passed meanwhile, or had passed before the call.
  /// - Throws: ``SocketError``: `connectionReset`, `closed`, `loopShutDown`, `loopFailed`,
  ///   `outOfMemory`; `deadlineExceeded`, and `wouldBlock` with ``ReceiveOptions/doNotWait``: then
  ///   no message was taken from the socket. `CancellationError` when the task was cancelled: then
  ///   no message was taken either. A message that won the race against the cancellation is
  ///   returned. `messageIncomplete`, if the end of its payload or control data is missing: the
  ///   error has what arrived, ``SocketError/message``, and the next receive the next message. A
  ///   ``ReceivePolicy`` has it returned instead. An error of the socket, as `connectionReset`,
  ///   comes behind the messages that were queued before it.
  @inlinable @inline(__always)
  public nonisolated func receiveMessage(
    options: ReceiveOptions = [], deadline: Deadline = .never
  ) async throws -> ReceivedMessage? {
    let channel = channel
    guard channel.isOnLoop else { return try await receiveOnLoop(options, deadline) }
    let received = unsafe try await channel.receive(
      into: nil, flags: options.rawValue, deadline: deadline)
    return try ReceivedMessage.received(received, channel, options)
  }

  @usableFromInline
  func receiveOnLoop(_ options: ReceiveOptions, _ deadline: Deadline) async throws
    -> ReceivedMessage?
  {
    let received = unsafe try await channel.receive(
      into: nil, flags: options.rawValue, deadline: deadline)
    return try ReceivedMessage.received(received, channel, options)
  }

  /// Receives what there is, at most `maximum` messages, in one wait: it waits for the first, and
  /// takes those that have arrived with it. Empty at the end.
  ///
  /// On io_uring the messages arrive as for ``messages(window:policy:)``, in a window of `maximum`
  /// messages; elsewhere each costs a system call.
  ///
  /// - Precondition: `maximum` is 1 or more.
  /// - Throws: as ``receiveMessage(options:deadline:)``, while there is no message yet. An error or
  ///   end behind the first message is found by the next receive, and so is a message of which
  ///   something is missing.
  public nonisolated func receiveMessages(upTo maximum: Int) async throws -> [ReceivedMessage] {
    precondition(maximum > 0, "A batch has room for at least one message")
    // Each step checks where it runs: a task that is on the loop's thread without preferring the
    // loop (`Task.immediate`) continues elsewhere after a wait.
    guard let first = try await nextMessage(window: ReceiveWindow(messages: maximum)) else {
      return []
    }
    var batch = [first]
    while batch.count < maximum,
      let message = await channel.isOnLoop ? messageIfThere() : messageIfThereOnLoop()
    { batch.append(message) }
    return batch
  }

  private nonisolated(nonsending) func messageIfThere() async -> ReceivedMessage? {
    guard let received = await channel.receiveIfThere() else { return nil }
    return ReceivedMessage(received.takeOutcome(), channel)
  }

  private func messageIfThereOnLoop() async -> ReceivedMessage? { await messageIfThere() }

  /// Receives the next message into the caller's memory. It allocates only for more than four
  /// descriptors, or for control messages of other kinds.
  ///
  /// The bytes are appended to `payload`, at most as many as it has room for: of a stream the rest
  /// comes with the next receive (the descriptors of what had been received ahead, for
  /// ``messages``, with its first piece), of a seqpacket message or datagram it is lost, and
  /// `messageIncomplete` is thrown, with the bytes in ``SocketError/message``; then nothing was
  /// appended. Nil at the end, as ``receiveMessage(options:deadline:)``.
  /// ```swift
  /// let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 1)
  /// defer { memory.deallocate() }
  /// var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
  /// while var parts = try await socket.receiveMessage(into: &payload) {
  ///   try await socket.sendMessage(payload.bytes, to: …)  // parts.sender; parts.descriptors.takeFirst()
  ///   payload.removeAll()  // Or the next message is appended.
  /// }
  /// ```
  ///
  /// - Parameters:
  ///   - payload: Where the bytes go, behind those that it has.
  ///   - options: Flags for this call, as for ``receiveMessage(options:deadline:)``.
  ///   - deadline: When to give up, as for ``receiveMessage(options:deadline:)``.
  /// - Throws: as ``receiveMessage(options:deadline:)``, and ``SocketError``: `noRoom` if `payload`
  ///   is full; then nothing was appended.
  @inlinable @inline(__always)
  public nonisolated func receiveMessage(
    into payload: inout OutputRawSpan, options: ReceiveOptions = [], deadline: Deadline = .never
  ) async throws -> ReceivedEnvelope? {
    let memory = unsafe try FreeMemory(of: &payload)
    let channel = channel
    guard channel.isOnLoop else {
      return unsafe memory.add(
        try await receiveOnLoop(into: memory, options, deadline), to: &payload)
    }
    let received = unsafe try await channel.receive(
      into: memory.bytes, flags: options.rawValue, deadline: deadline)
    return unsafe memory.add(
      try ReceivedEnvelope(received, channel, in: memory.bytes, options), to: &payload)
  }

  @unsafe
  @usableFromInline
  func receiveOnLoop(
    into memory: FreeMemory, _ options: ReceiveOptions, _ deadline: Deadline
  ) async throws -> ReceivedEnvelope? {
    let received = unsafe try await channel.receive(
      into: memory.bytes, flags: options.rawValue, deadline: deadline)
    return unsafe try ReceivedEnvelope(received, channel, in: memory.bytes, options)
  }

  /// The messages that arrive from now on; ends when the peer has closed.
  ///
  /// The kernel delivers ahead of demand, within a window of 32 messages or 256 descriptors
  /// (``messages(window:policy:)``); further messages stay in the socket's queue and slow the
  /// sender down. Every error ends the iteration, including that for an incomplete message; a new
  /// iteration continues with the next message. Leaving the loop early, or cancelling its task,
  /// loses nothing: the next receive returns the messages that were received ahead. Concurrent
  /// iterations divide the messages among themselves.
  public nonisolated var messages: MessageSequence<Self> { messages() }

  /// The messages that arrive from now on, as ``messages``, in a window of your own or under a
  /// policy.
  ///
  /// - Parameters:
  ///   - window: How much is received ahead of demand. It holds for the socket: of several
  ///     iterations the last to ask sets it. Beyond the window, the socket may hold messages that
  ///     were in flight when the window became full: at most
  ///     ``IOLoop/Configuration/receiveBuffers`` messages, before Linux 6.1 twice as many.
  ///   - policy: What the peer may send; the socket has it from the first step on
  ///     (``setReceivePolicy(_:)``). Nil leaves the policy that the socket has. A message that the
  ///     policy answers with an error ends the iteration with that error. Later messages are not
  ///     lost: iterate again to continue.
  public nonisolated func messages(
    window: ReceiveWindow = ReceiveWindow(), policy: ReceivePolicy? = nil
  ) -> MessageSequence<Self> {
    MessageSequence(socket: self, window: window, policy: policy)
  }

  /// Sets the policy for all messages that arrive from now on, for every way of receiving. Messages
  /// that were received ahead were checked when they arrived.
  ///
  /// With a limit of ``ReceivePolicy/maximumDescriptorsHeld``, it returns when the socket has
  /// stopped receiving ahead.
  ///
  /// - Throws: ``SocketError``: `closed`.
  public func setReceivePolicy(_ policy: ReceivePolicy) async throws {
    try await channel.setPolicy(policy)
  }
}

/// The unused part of a caller's memory. `@unchecked Sendable`: the caller awaits, and does not
/// touch the memory in the meantime.
@unsafe
@usableFromInline
struct FreeMemory: @unchecked Sendable {
  @usableFromInline let bytes: UnsafeMutableRawBufferPointer

  /// Never inlined: otherwise the task would keep more variables while it waits.
  @inline(never)
  @usableFromInline
  init(of payload: inout OutputRawSpan) throws(SocketError) {
    // Without room, a stream would report its end.
    guard payload.freeCapacity > 0 else { throw SocketError(.noRoom, .receive) }
    // SAFETY: the unused part of the span does not move, and nothing else touches it while the
    // receiving call borrows `payload`.
    unsafe bytes = payload.withUnsafeMutableBytes { bytes, used in
      unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[used...])
    }
  }

  /// Adds the bytes that were received here to the payload.
  @inline(never)
  @usableFromInline
  func add(_ parts: consuming ReceivedEnvelope?, to payload: inout OutputRawSpan)
    -> ReceivedEnvelope?
  {
    guard let parts else { return nil }
    let count = parts.writtenCount
    // SAFETY: the kernel or the engine has written this many bytes after the initialized ones.
    unsafe payload.withUnsafeMutableBytes { bytes, used in
      precondition(count <= bytes.count - used, "More was received than there was room for")
      used += count
    }
    return parts
  }
}
