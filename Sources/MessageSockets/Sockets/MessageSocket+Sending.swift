// SPDX-License-Identifier: Apache-2.0
public import Ancillary
public import SocketEngine
public import SystemPackage

// Each form takes one payload of any kind, and what else the kind of socket can send: an address,
// descriptors.
//
// Forms that are generic in the payload are inlined into their callers and ask the payload there
// for the location of its bytes, so that a call costs no more than one with an array.

extension MessageSocket {
  /// Sends one message: its payload, and with its first byte the control messages. The C name is
  /// sendmsg(2).
  ///
  /// The payload is borrowed until the call returns: nothing is copied. Waits while the socket's
  /// buffer is full. Concurrent calls send in the order in which they reached the loop, one after
  /// the other.
  /// ```swift
  /// try await socket.sendMessage([1, 2, 3])
  /// try await socket.sendMessage(Array("hello".utf8))
  /// var pieces = GatherBuffers(header.span.bytes)
  /// pieces.append(body.span.bytes)
  /// try await socket.sendMessage(pieces)
  /// ```
  ///
  /// - Parameters:
  ///   - payload: An array or a span; or pieces to gather, at most 1,024 (`IOV_MAX`). On a stream
  ///     of any size, sent whole; elsewhere one message, which must fit into the send buffer
  ///     (`SO_SNDBUF`, about 200 KiB by default; 65,507 bytes over UDP) and which a receiver of
  ///     this package cuts above its `receiveBufferSize`, 64 KiB by default. Empty is possible
  ///     where there are messages; on a stream an empty payload does nothing.
  ///   - control: Control messages, encoded.
  ///   - options: Flags for this call.
  ///   - deadline: When to give up. What can be sent without a wait is sent also
  ///     after the deadline. On a stream a part of the payload may have gone out by then: add
  ///     ``SendOptions/finishOnceBegun`` where the connection is to stay usable.
  /// - Throws: ``SocketError``: `messageTooLarge`, `peerClosed` (no `SIGPIPE`), `connectionReset`,
  ///   `connectionRefused` (datagram: no socket is bound there), `notConnected`, `notPermitted`,
  ///   `closed`, `loopShutDown`, `loopFailed`; `wouldBlock` with ``SendOptions/doNotWait``;
  ///   `deadlineExceeded` when nothing was sent before the deadline; `emptyPayload` (control
  ///   messages without payload on a stream); `partialSend` when a stream send was stopped midway.
  ///   `CancellationError` when the task was cancelled and nothing was sent. If the message had
  ///   gone out whole before the cancellation took effect, the call succeeds.
  @inlinable @inline(__always)
  public nonisolated func sendMessage(
    _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable,
    control: ControlMessageBuffer = ControlMessageBuffer(), options: SendOptions = [],
    deadline: Deadline = .never
  ) async throws {
    try await channel.send(
      payload.payloadBytes, numbers: Span(), control: control, flags: options.rawValue,
      deadline: deadline)
  }
}

extension DatagramSocket {
  /// Sends one message to an address; see
  /// ``MessageSocket/sendMessage(_:control:options:deadline:)``. The C name is sendmsg(2) with
  /// `msg_name`.
  ///
  /// - Throws: also ``SocketError``, with the address: `connectionRefused` and `notFound` (Unix:
  ///   no socket is bound there), `notPermitted` (Unix: no write permission on the file),
  ///   `hostUnreachable`, `addressNotAvailable` (UDP).
  @inlinable @inline(__always)
  public nonisolated func sendMessage(
    _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable, to address: Address,
    control: ControlMessageBuffer = ControlMessageBuffer(), options: SendOptions = [],
    deadline: Deadline = .never
  ) async throws {
    try await send(
      payload.payloadBytes, numbers: Span(), control, to: address, options, deadline)
  }

  @usableFromInline
  nonisolated func send(
    _ payload: PayloadBytes, numbers: Span<FileDescriptor>, _ control: ControlMessageBuffer,
    to address: Address, _ options: SendOptions, _ deadline: Deadline
  ) async throws {
    let name = AnySocketAddress(address).bytes
    // SAFETY: a byte array has no padding.
    try await channel.send(
      payload, numbers: numbers, control: control, to: unsafe name.span.bytes,
      flags: options.rawValue, deadline: deadline)
  }
}

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
  @inlinable @inline(__always)
  public nonisolated func sendMessage(
    _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable, descriptors: Span<OwnedFd>,
    control: ControlMessageBuffer = ControlMessageBuffer(), options: SendOptions = [],
    deadline: Deadline = .never
  ) async throws {
    // SAFETY: the descriptors are borrowed until this call returns, so they stay open.
    try await channel.send(
      payload.payloadBytes, numbers: unsafe descriptors.fileDescriptors, control: control,
      flags: options.rawValue, deadline: deadline)
  }

  /// Sends one message with one descriptor; see
  /// ``sendMessage(_:descriptors:control:options:deadline:)``.
  @inlinable @inline(__always)
  public nonisolated func sendMessage(
    _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable,
    descriptor: borrowing OwnedFd,
    control: ControlMessageBuffer = ControlMessageBuffer(), options: SendOptions = [],
    deadline: Deadline = .never
  ) async throws {
    // SAFETY: `descriptor` is borrowed until this call returns, so it stays open.
    defer { extendLifetime(descriptor) }
    let numbers = InlineArray<1, FileDescriptor>(
      repeating: descriptor.withUnsafeFileDescriptor { $0 })
    try await channel.send(
      payload.payloadBytes, numbers: numbers.span, control: control, flags: options.rawValue,
      deadline: deadline)
  }
}

extension UnixDatagram {
  /// Sends one message with descriptors to an address; see
  /// ``UnixSocket/sendMessage(_:descriptors:control:options:deadline:)``.
  ///
  /// - Throws: also ``SocketError``, with the address: `connectionRefused`, `notFound`,
  ///   `notPermitted`.
  @inlinable @inline(__always)
  public nonisolated func sendMessage(
    _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable, descriptors: Span<OwnedFd>,
    to address: UnixAddress, control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = [], deadline: Deadline = .never
  ) async throws {
    // SAFETY: the descriptors are borrowed until this call returns, so they stay open.
    try await send(
      payload.payloadBytes, numbers: unsafe descriptors.fileDescriptors, control, to: address,
      options, deadline)
  }

  /// Sends one message with one descriptor to an address; see
  /// ``sendMessage(_:descriptors:to:control:options:deadline:)``.
  @inlinable @inline(__always)
  public nonisolated func sendMessage(
    _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable,
    descriptor: borrowing OwnedFd, to address: UnixAddress,
    control: ControlMessageBuffer = ControlMessageBuffer(), options: SendOptions = [],
    deadline: Deadline = .never
  ) async throws {
    // SAFETY: `descriptor` is borrowed until this call returns, so it stays open.
    defer { extendLifetime(descriptor) }
    let numbers = InlineArray<1, FileDescriptor>(
      repeating: descriptor.withUnsafeFileDescriptor { $0 })
    try await send(
      payload.payloadBytes, numbers: numbers.span, control, to: address, options, deadline)
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
