// SPDX-License-Identifier: Apache-2.0
public import MessageSockets
internal import SocketEngine

/// A Unix connection whose bytes are frames, each with the descriptors that belong to it.
/// ```swift
/// let channel = FramedChannel(stream, format: .lengthPrefixed())
/// try await channel.send(Array("log".utf8), descriptors: files.span)
/// for try await frame in channel.frames { … }
/// ```
/// Over a ``UnixStream`` the bytes are cut by the ``FrameFormat``. Over a ``UnixSeqpacket`` each
/// message is exactly one frame, with the bytes that it has on a stream.
///
/// **Sending** is whole or throws. Concurrent senders take turns. Each frame is one sendmsg(2), so
/// that its descriptors stand between its bytes and those in front of it.
///
/// **Receiving** gives a frame the descriptors that arrived with it. What a channel holds is
/// bounded by the format's limits and one receive of the socket; all else waits in the kernel, and
/// slows the sender down. To bound the descriptors in frames that were handed out, give the socket
/// a ``ReceivePolicy`` with ``ReceivePolicy/maximumDescriptorsHeld``.
///
/// **The end.** When the bytes of either direction can no longer be decoded, the channel ends: it
/// shuts the connection down, and this and all later calls throw the cause. Then call ``close()``.
///
/// The channel is the only user of its socket, whose own methods for messages are not to be called.
public final class FramedChannel<Socket: UnixConnection>: Sendable {
  /// The connection. Useful for its options and the identity of its peer.
  public let socket: Socket
  /// How frames are cut.
  public let format: FrameFormat

  private let window: ReceiveWindow?
  private let sending = Turn()
  private let receiving = Turn()
  private let state: TSanVisibleMutex<State>

  private struct State {
    var decoder: FrameDecoder<ReceivedMessage>
    /// When to stop waiting for the rest of a frame after the socket began to drain.
    var drainDeadline: Deadline?
    /// Why the channel has ended.
    var failure: (any Error)?
    var isClosed = false
  }

  /// Takes over a connection.
  ///
  /// - Parameters:
  ///   - socket: A socket whose next byte begins a frame.
  ///   - format: The format of the frames. Both ends must use the same format.
  ///   - window: How much to receive ahead of demand, as for
  ///     ``MessageSocket/messages(window:policy:)``. Nil: nothing. On a stream one receive brings
  ///     many small frames as it is.
  public init(_ socket: Socket, format: FrameFormat, receivingAhead window: ReceiveWindow? = nil) {
    self.socket = socket
    self.format = format
    self.window = window
    state = TSanVisibleMutex(State(decoder: FrameDecoder(format: format)))
  }

  /// Closes the connection; see ``LoopSocket/close()``. Calls that wait end with the error
  /// `closed`, and frames that were not asked for are dropped.
  public func close() async {
    state.withLock { state in
      state.isClosed = true
      state.decoder = FrameDecoder(format: format)
    }
    await socket.close()
  }

  /// Ends the channel with an error of this layer or the layer above. The first error is kept.
  ///
  /// - Returns: The error with which the channel ended.
  package func end(with error: any Error) async -> any Error {
    let (failure, isNew) = state.withLock { state in
      let isNew = state.failure == nil
      let failure = state.failure ?? error
      state.failure = failure
      // Drop the incomplete frame's descriptors now, not when the channel is closed.
      state.decoder = FrameDecoder(format: format)
      return (failure, isNew)
    }
    // The peer must not wait for the rest of a frame or for an answer.
    if isNew { try? await socket.shutdown(.both) }
    return failure
  }

  /// Why the channel has ended; nil if it has not.
  package var failure: (any Error)? { state.withLock { $0.failure } }
}

// MARK: Receiving

extension FramedChannel {
  /// Receives the next frame, or nil at the end: the peer has closed between two frames.
  ///
  /// Concurrent calls are served one after the other. Cancellation loses nothing: a frame that has
  /// arrived in part stays in the channel.
  ///
  /// - Parameter deadline: When to give up.
  /// - Throws: ``FramingError``, after which the channel has ended: `frameTooLarge`,
  ///   `tooManyDescriptors`, `malformedHeader`, `descriptorCountDiffers`, `descriptorsInPieces`,
  ///   `notOneFrame`, `incompleteReceive`, `endInsideFrame`. ``SocketError`` as
  ///   ``MessageSocket/receiveMessage(options:deadline:)``; the channel has ended then too, except
  ///   after `deadlineExceeded`. `CancellationError`.
  public func receive(deadline: Deadline = .never) async throws -> Frame? {
    try await receive(.asked(deadline: deadline))
  }

  /// Receives the next frame as ``receive(deadline:)`` does. If the socket drains
  /// (``MessageSocket/startDraining()``), returns the frames that have arrived or begun to arrive,
  /// then nil.
  ///
  /// It waits at most a second in total for the rest of frames while the socket drains; then it
  /// returns nil too.
  package func receiveUntilDraining() async throws -> Frame? { try await receive(.untilDraining) }

  private enum Reception {
    case asked(deadline: Deadline)
    case untilDraining
  }

  private func receive(_ reception: Reception) async throws -> Frame? {
    try await takeReceiveTurn(reception)
    defer { receiving.giveBack() }
    while true {
      do throws(FramingError) {
        if let frame = try nextDecoded() { return frame }
      } catch {
        throw await end(with: error)
      }
      guard try await receiveMore(reception) else { return nil }
    }
  }

  private func takeReceiveTurn(_ reception: Reception) async throws {
    if receiving.takeIfFree() { return }
    guard case .asked(let deadline) = reception, deadline != .never else {
      return try await receiving.take()
    }
    // The deadline includes the wait behind other receivers.
    try await socket.loop.withDeadline(deadline) { [receiving] in try await receiving.take() }
  }

  /// The frames that arrive from now on; ends when the peer has closed.
  ///
  /// Leaving the loop early, or cancelling its task, loses nothing: the next receive or iteration
  /// goes on with the next frame. An error is thrown once, after which the iteration is at its end.
  public var frames: FrameSequence<Socket> { FrameSequence(channel: self) }

  private func nextDecoded() throws(FramingError) -> Frame? {
    try state.withLock { (state) throws(FramingError) in
      let decoded = try state.decoder.next()
      if Socket.kind == .seqpacket, !state.decoder.isEmpty { throw FramingError(.notOneFrame) }
      return decoded.map { Frame($0) }
    }
  }

  /// Receives once from the socket; returns false at the end.
  private func receiveMore(_ reception: Reception) async throws -> Bool {
    if let failure { throw failure }
    // Checked for each receive, so that a frame cannot trickle in indefinitely.
    if case .untilDraining = reception, let deadline = deadlineOfRest, deadline <= .now {
      return false
    }
    let message: ReceivedMessage?
    do {
      message = try await receiveMessage(reception)
    } catch let error as SocketError where error.code == .deadlineExceeded {
      // The rest of the frame did not come while the socket drained.
      if case .untilDraining = reception { return false }
      throw error
    } catch let error as SocketError {
      throw await end(with: error)
    }
    do {
      return try decode(message)
    } catch {
      throw await end(with: error)
    }
  }

  private func receiveMessage(_ reception: Reception) async throws -> ReceivedMessage? {
    switch reception {
    case .asked(let deadline) where deadline != .never:
      return try await socket.receiveMessage(deadline: deadline)
    case .untilDraining:
      // A window of few descriptors, so that nothing is received ahead.
      let window = window ?? ReceiveWindow(messages: 1, descriptors: 1)
      var messages = socket.messages(window: window).untilDraining().makeAsyncIterator()
      if let message = try await messages.next(isolation: #isolation) { return message }
      guard let deadline = deadlineOfRest else { return nil }
      return try await socket.receiveMessage(deadline: deadline)
    case .asked: break
    }
    guard let window else { return try await socket.receiveMessage() }
    var messages = socket.messages(window: window).makeAsyncIterator()
    return try await messages.next(isolation: #isolation)
  }

  /// How long to wait for the rest of a frame, if the socket drains and a frame has begun to
  /// arrive.
  private var deadlineOfRest: Deadline? {
    if !socket.isDraining { return nil }
    return state.withLock { state in
      guard state.decoder.isInsideFrame else { return nil }
      let deadline = state.drainDeadline ?? .now + .seconds(1)
      state.drainDeadline = deadline
      return deadline
    }
  }

  private func decode(_ message: ReceivedMessage?) throws -> Bool {
    try state.withLock { state in
      // We may have caused the end: a sender has shut the connection down in the meantime.
      if let failure = state.failure { throw failure }
      guard let message else {
        if state.decoder.isInsideFrame { throw FramingError(.endInsideFrame) }
        return false
      }
      guard message.outcome == .complete else {
        throw FramingError(.incompleteReceive, detail: "\(message.outcome)")
      }
      // The message is dropped, and the next receive throws.
      if state.isClosed { return true }
      let count = message.descriptorCount
      state.decoder.append(message.payload, count > 0 ? (message, count) : nil)
      return true
    }
  }
}

// MARK: Sending

extension FramedChannel {
  /// Sends one frame: all of it, or nothing, or the channel ends.
  ///
  /// Payload and descriptors are borrowed until the call returns: nothing is copied or duplicated.
  /// Waits while other senders are in front, and while the socket's buffer is full.
  ///
  /// - Parameters:
  ///   - payload: At most ``FrameFormat/maximumSize`` bytes; without a NUL, if it is
  ///     zero-terminated.
  ///   - descriptors: At most ``FrameFormat/maximumDescriptors``, in order.
  /// - Throws: ``FramingError``: `frameTooLarge`, `tooManyDescriptors` and `zeroInPayload` (nothing
  ///   was sent, and the channel goes on); `sendInterrupted` when a stream send was stopped in the
  ///   middle, by a cancellation or by the end of the connection, after which the channel has
  ///   ended. ``SocketError`` as
  ///   ``UnixSocket/sendMessage(_:descriptors:control:options:deadline:)``, and
  ///   `CancellationError`: nothing was sent. Why the channel has ended, if it has.
  public func send(_ payload: [UInt8], descriptors: Span<OwnedFd> = Span()) async throws {
    // SAFETY: a byte array has no padding.
    try await send(unsafe payload.span.bytes, descriptors: descriptors)
  }

  /// Sends one frame whose payload lies in memory of the caller's; see ``send(_:descriptors:)``.
  public func send(_ payload: RawSpan, descriptors: Span<OwnedFd> = Span()) async throws {
    try check(payload, kind: .message, descriptorCount: descriptors.count)
    try await sending.take()
    defer { sending.giveBack() }
    try await sendInTurn(payload, kind: .message, number: 0, descriptors: descriptors)
  }

  // For layers above: they record frames in the order in which frames are sent.

  /// Waits for the turn to send. The caller must give it back.
  package func takeSendTurn() async throws { try await sending.take() }

  package func giveBackSendTurn() { sending.giveBack() }

  /// Checks everything that can be checked without sending.
  package func check(
    _ payload: RawSpan, kind: FrameKind, descriptorCount: Int
  ) throws(FramingError) {
    guard payload.byteCount <= format.maximumSize else {
      throw FramingError(
        .frameTooLarge, detail: "\(payload.byteCount) of at most \(format.maximumSize) bytes")
    }
    guard descriptorCount <= format.maximumDescriptors else {
      throw FramingError(
        .tooManyDescriptors, detail: "\(descriptorCount) of at most \(format.maximumDescriptors)")
    }
    if format.boundary == .zero, payload.firstZero != nil { throw FramingError(.zeroInPayload) }
    assert(format.boundary == .length || kind == .message, "No header says which kind it is")
  }

  /// Sends a frame that was checked. The caller must hold the turn to send.
  package func sendInTurn(
    _ payload: RawSpan, kind: FrameKind, number: UInt64, descriptors: Span<OwnedFd>
  ) async throws {
    if let failure { throw failure }
    let header = FrameHeader(
      length: payload.byteCount, kind: kind, descriptorCount: descriptors.count, number: number)
    let bytes = format.boundary == .length ? header.bytes : InlineArray(repeating: 0)
    let byteCount = format.boundary == .length ? header.byteCount : 1
    // SAFETY: a byte array has no padding.
    let framing = unsafe bytes.span.bytes.extracting(first: byteCount)
    var pieces = GatherBuffers(format.boundary == .length ? framing : payload)
    pieces.append(format.boundary == .length ? payload : framing)
    do {
      try await socket.sendMessage(pieces, descriptors: descriptors)
    } catch let error as SocketError where error.bytesSent > 0 {
      throw await end(with: FramingError(.sendInterrupted, socketError: error))
    }
  }
}

extension RawSpan {
  /// The offset of the first NUL.
  fileprivate var firstZero: Int? { unsafe withUnsafeBytes { unsafe $0.firstZero } }
}
