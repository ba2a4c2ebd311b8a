public import Ancillary
internal import SocketEngine
internal import SystemPackage

extension MessageSocket {
  /// Sends one message: its payload, and with its first byte the descriptors and control messages. The C names are sendmsg(2) and `SCM_RIGHTS`.
  ///
  /// Payload and descriptors are borrowed until the call returns: nothing is copied or duplicated, and the descriptors stay yours. Waits
  /// while the socket's buffer is full. Concurrent calls send in the order in which they reached the loop, one after the other.
  ///
  /// - Parameters:
  ///   - payload: On a stream of any size, sent whole; on seqpacket one message, which must fit into the send buffer (`SO_SNDBUF`, about 200 KiB
  ///     by default) and which a receiver of this package cuts above its `receiveBufferSize`, 64 KiB by default. Empty is possible on seqpacket; on a stream an empty payload without descriptors does nothing.
  ///   - descriptors: 253 at most (`SCM_MAX_FD`), in order. The receiver gets new numbers for the same open files.
  ///   - control: Further control messages, encoded.
  /// - Throws: ``SocketError``: `emptyPayload` (descriptors without payload on a stream), `tooManyDescriptors`, `badDescriptor` and `cannotPassRing` (nothing was sent),
  ///   `messageTooLarge`, `peerClosed` (no `SIGPIPE`), `connectionReset`, `notPermitted`, `tooManyInFlight`, `closed`, `loopShutDown`; `partialSend` when a stream send
  ///   was stopped midway. `CancellationError` when the task was cancelled and nothing was sent. If the message had gone out whole before
  ///   the cancellation took effect, the call succeeds.
  public nonisolated func sendMessage(
    _ payload: RawSpan, descriptors: Span<OwnedFd> = Span(), control: ControlMessageBuffer = ControlMessageBuffer()
  ) async throws {
    // SAFETY: the descriptors are borrowed, and so open, until this call returns.
    try await send(payload, numbers: unsafe descriptors.fileDescriptors, control: control)
  }

  /// Sends bytes and descriptors; see ``sendMessage(_:descriptors:control:)``.
  public nonisolated func sendMessage(
    _ payload: [UInt8], descriptors: Span<OwnedFd> = Span(), control: ControlMessageBuffer = ControlMessageBuffer()
  ) async throws {
    // SAFETY: an array of bytes has no padding between its elements.
    try await sendMessage(unsafe payload.span.bytes, descriptors: descriptors, control: control)
  }

  /// Sends bytes and one descriptor; see ``sendMessage(_:descriptors:control:)``.
  public nonisolated func sendMessage(_ payload: [UInt8], descriptor: borrowing OwnedFd) async throws {
    // SAFETY: `descriptor` is borrowed, and so open, until this call returns. An array of bytes has no padding.
    let numbers = InlineArray<1, FileDescriptor>(repeating: descriptor.withUnsafeFileDescriptor { $0 })
    try await send(unsafe payload.span.bytes, numbers: numbers.span, control: ControlMessageBuffer())
  }

  private nonisolated func send(_ payload: RawSpan, numbers: Span<FileDescriptor>, control: ControlMessageBuffer) async throws {
    if channel.isOnLoop {
      try await channel.send(payload, numbers: numbers, control: control, flags: 0)
    } else {
      try await sendOnLoop(payload, numbers: numbers, control: control)
    }
  }

  private func sendOnLoop(_ payload: RawSpan, numbers: Span<FileDescriptor>, control: ControlMessageBuffer) async throws {
    try await channel.send(payload, numbers: numbers, control: control, flags: 0)
  }
}
