// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine
public import SystemPackage

/// A Unix socket: its messages can carry descriptors. See unix(7).
///
/// ``UnixStream``, ``UnixSeqpacket`` and ``UnixDatagram``. No other family can: TCP and UDP would
/// drop the descriptors without a word.
public protocol UnixSocket: MessageSocket {}

extension UnixSocket {
  /// Sends one message: its payload, and with its first byte the descriptors and control messages.
  /// The C names are sendmsg(2) and `SCM_RIGHTS`.
  ///
  /// Payload and descriptors are borrowed until the call returns: nothing is copied or duplicated,
  /// and the descriptors stay yours.
  ///
  /// - Parameters:
  ///   - payload: As for ``MessageSocket/sendMessage(_:control:options:deadline:)``. Not empty on a
  ///     stream, if there are descriptors.
  ///   - descriptors: 253 at most (`SCM_MAX_FD`), in order. The receiver gets new numbers for the
  ///     same open files.
  ///   - control: Further control messages, encoded.
  ///   - options: Flags for this call.
  ///   - deadline: When to give up, as for
  ///     ``MessageSocket/sendMessage(_:control:options:deadline:)``.
  /// - Throws: As ``MessageSocket/sendMessage(_:control:options:deadline:)``, and ``SocketError``:
  ///   `emptyPayload` (descriptors without payload on a stream), `tooManyDescriptors`,
  ///   `badDescriptor` and `cannotPassRing` (nothing was sent), `notPermitted` (also: the receiver
  ///   refuses descriptors, `SO_PASSRIGHTS`), `tooManyInFlight`.
  public nonisolated func sendMessage(
    _ payload: RawSpan, descriptors: Span<OwnedFd>,
    control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = [], deadline: ContinuousClock.Instant? = nil
  ) async throws {
    // SAFETY: the descriptors are borrowed, and so open, until this call returns.
    try await send(
      payload, numbers: unsafe descriptors.fileDescriptors, control: control, to: RawSpan(),
      options,
      timeout: Duration(until: deadline))
  }

  /// Sends bytes and descriptors; see ``sendMessage(_:descriptors:control:options:deadline:)``.
  public nonisolated func sendMessage(
    _ payload: [UInt8], descriptors: Span<OwnedFd>,
    control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = [], deadline: ContinuousClock.Instant? = nil
  ) async throws {
    // SAFETY: an array of bytes has no padding; the descriptors are borrowed, and so open, until
    // this call returns.
    try await send(
      unsafe payload.span.bytes, numbers: unsafe descriptors.fileDescriptors, control: control,
      to: RawSpan(),
      options, timeout: Duration(until: deadline))
  }

  /// Sends bytes and one descriptor; see ``sendMessage(_:descriptors:control:options:deadline:)``.
  public nonisolated func sendMessage(
    _ payload: [UInt8], descriptor: borrowing OwnedFd,
    control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = [], deadline: ContinuousClock.Instant? = nil
  ) async throws {
    // SAFETY: `descriptor` is borrowed, and so open, until this call returns. An array of bytes has
    // no padding.
    let numbers = InlineArray<1, FileDescriptor>(
      repeating: descriptor.withUnsafeFileDescriptor { $0 })
    try await send(
      unsafe payload.span.bytes, numbers: numbers.span, control: control, to: RawSpan(), options,
      timeout: Duration(until: deadline))
  }

  /// Sends bytes gathered from several buffers, and descriptors; see
  /// ``sendMessage(_:descriptors:control:options:deadline:)``.
  public nonisolated func sendMessage(
    gathering pieces: borrowing GatherBuffers, descriptors: Span<OwnedFd>,
    control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = []
  ) async throws {
    // SAFETY: the descriptors are borrowed, and so open, until this call returns.
    try await send(
      gathering: pieces, numbers: unsafe descriptors.fileDescriptors, control: control,
      to: RawSpan(), options)
  }
}

extension OwnedFds {
  /// Makes duplicates of descriptors that are owned elsewhere, to send them while their owner may
  /// close its own: a library's, or those of a `FileDescriptor` variable. They have to be open
  /// during this call.
  ///
  /// - Throws: ``SocketError``: `badDescriptor` or `outOfDescriptors` when one cannot be
  ///   duplicated; then the others are closed again.
  public init(duplicating descriptors: [FileDescriptor]) throws(SocketError) {
    self.init()
    for (position, descriptor) in descriptors.enumerated() {
      guard descriptor.rawValue >= 0 else {
        throw SocketError(
          .badDescriptor, .send, detail: "descriptor \(position) is \(descriptor.rawValue)")
      }
      let borrowed = OwnedFd(adopting: descriptor)
      let copy = Result { () throws(Errno) in try borrowed.duplicate() }
      _ = borrowed.release()
      switch consume copy {
      case .success(let copy): append(copy)
      case .failure(let errno):
        throw SocketError(
          SocketError.Code(errno), .send, errno: errno, detail: "descriptor \(position)")
      }
    }
  }
}
