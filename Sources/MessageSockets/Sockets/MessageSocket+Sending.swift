// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine
internal import SystemPackage

extension MessageSocket {
  /// Sends one message: its payload, and with its first byte the control messages. The C name is
  /// sendmsg(2).
  ///
  /// The payload is borrowed until the call returns: nothing is copied. Waits while the socket's
  /// buffer is full. Concurrent calls send in the order in which they reached the loop, one after
  /// the other.
  ///
  /// - Parameters:
  ///   - payload: On a stream of any size, sent whole; elsewhere one message, which must fit into
  ///     the send buffer (`SO_SNDBUF`, about 200 KiB by default; 65,507 bytes over UDP) and which a
  ///     receiver of this package cuts above its `receiveBufferSize`, 64 KiB by default. Empty is
  ///     possible where there are messages; on a stream an empty payload does nothing.
  ///   - control: Control messages, encoded.
  ///   - options: Flags for this call.
  ///   - deadline: When to give up; nil for never. What can be sent without a wait is sent also
  ///     after the deadline. On a stream a part of the payload may have gone out by then: add
  ///     ``SendOptions/finishOnceBegun`` where the connection is to stay usable.
  /// - Throws: ``SocketError``: `messageTooLarge`, `peerClosed` (no `SIGPIPE`), `connectionReset`,
  ///   `connectionRefused` (datagram: nobody is bound there), `notConnected`, `notPermitted`,
  ///   `closed`, `loopShutDown`, `loopFailed`; `wouldBlock` with ``SendOptions/doNotWait``;
  ///   `deadlineExceeded` when nothing was sent before the deadline; `emptyPayload` (control
  ///   messages without payload on a stream); `partialSend` when a stream send was stopped midway.
  ///   `CancellationError` when the task was cancelled and nothing was sent. If the message had
  ///   gone out whole before the cancellation took effect, the call succeeds.
  public nonisolated func sendMessage(
    _ payload: RawSpan, control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = [],
    deadline: ContinuousClock.Instant? = nil
  ) async throws {
    try await send(
      payload, numbers: Span(), control: control, to: RawSpan(), options,
      timeout: Duration(until: deadline))
  }

  /// Sends bytes; see ``sendMessage(_:control:options:deadline:)``.
  public nonisolated func sendMessage(
    _ payload: [UInt8], control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = [],
    deadline: ContinuousClock.Instant? = nil
  ) async throws {
    // SAFETY: an array of bytes has no padding between its elements.
    try await send(
      unsafe payload.span.bytes, numbers: Span(), control: control, to: RawSpan(), options,
      timeout: Duration(until: deadline))
  }

  /// Sends one message whose payload is gathered from several buffers, at most 1,024 (`IOV_MAX`; up
  /// to eight without an allocation); see ``sendMessage(_:control:options:deadline:)``.
  /// ```swift
  /// var pieces = GatherBuffers(header.span.bytes)
  /// pieces.append(body.span.bytes)
  /// try await socket.sendMessage(gathering: pieces)
  /// ```
  public nonisolated func sendMessage(
    gathering pieces: borrowing GatherBuffers,
    control: ControlMessageBuffer = ControlMessageBuffer(), options: SendOptions = []
  ) async throws {
    try await send(gathering: pieces, numbers: Span(), control: control, to: RawSpan(), options)
  }

  // MARK: For the package

  /// All forms of sending come here. The caller keeps payload, numbers and name as they are until
  /// this returns.
  @inline(__always)
  nonisolated func send(
    _ payload: RawSpan, numbers: Span<FileDescriptor>, control: ControlMessageBuffer,
    to name: RawSpan, _ options: SendOptions,
    timeout: Duration? = nil
  ) async throws {
    let channel = channel
    if channel.isOnLoop {
      try await channel.send(
        payload, numbers: numbers, control: control, to: name, flags: options.rawValue,
        timeout: timeout)
    } else {
      try await sendOnLoop(payload, numbers: numbers, control: control, to: name, options, timeout)
    }
  }

  private func sendOnLoop(
    _ payload: RawSpan, numbers: Span<FileDescriptor>, control: ControlMessageBuffer,
    to name: RawSpan, _ options: SendOptions,
    _ timeout: Duration?
  ) async throws {
    try await channel.send(
      payload, numbers: numbers, control: control, to: name, flags: options.rawValue,
      timeout: timeout)
  }

  /// The same for a payload in pieces.
  nonisolated func send(
    gathering pieces: borrowing GatherBuffers, numbers: Span<FileDescriptor>,
    control: ControlMessageBuffer, to name: RawSpan,
    _ options: SendOptions
  ) async throws {
    if channel.isOnLoop {
      try await channel.send(
        gathering: pieces, numbers: numbers, control: control, to: name, flags: options.rawValue)
    } else {
      try await sendOnLoop(gathering: pieces, numbers: numbers, control: control, to: name, options)
    }
  }

  private func sendOnLoop(
    gathering pieces: borrowing GatherBuffers, numbers: Span<FileDescriptor>,
    control: ControlMessageBuffer, to name: RawSpan,
    _ options: SendOptions
  ) async throws {
    try await channel.send(
      gathering: pieces, numbers: numbers, control: control, to: name, flags: options.rawValue)
  }
}
