// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine
internal import SystemPackage

/// A socket whose messages go to, and come from, an address: ``UnixDatagram``, ``UDPSocket``.
///
/// Each ``ReceivedMessage`` says where it came from (``ReceivedMessage/sender``). There is no end:
/// a receive waits for the next message until the socket is closed, or shut down for receiving.
///
/// An error of the socket is no end either, but it ends an iteration: a connected socket's peer is
/// gone (`connectionRefused`), or on any with ``SocketOption/errorQueueV4`` one of those that it
/// has sent to. It is reported once, behind the messages that were queued before it: a server that
/// asks for errors iterates again.
public protocol DatagramSocket: MessageSocket {
  /// The family's address.
  associatedtype Address: SocketAddress
}

extension DatagramSocket {
  /// Sends one message to an address; see
  /// ``MessageSocket/sendMessage(_:control:options:deadline:)``. The C name is sendmsg(2) with
  /// `msg_name`.
  ///
  /// - Throws: also ``SocketError``, with the address: `connectionRefused` and `notFound` (Unix:
  ///   nobody is bound there), `notPermitted` (Unix: no write permission on the file),
  ///   `hostUnreachable`, `addressNotAvailable` (UDP).
  public nonisolated func sendMessage(
    _ payload: RawSpan, to address: Address, control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = [], deadline: ContinuousClock.Instant? = nil
  ) async throws {
    let name = AnySocketAddress(address).bytes
    // SAFETY: an array of bytes has no padding.
    try await send(
      payload, numbers: Span(), control: control, to: unsafe name.span.bytes, options,
      timeout: Duration(until: deadline))
  }

  /// Sends bytes to an address; see ``sendMessage(_:to:control:options:deadline:)``.
  public nonisolated func sendMessage(
    _ payload: [UInt8], to address: Address, control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = [], deadline: ContinuousClock.Instant? = nil
  ) async throws {
    // SAFETY: an array of bytes has no padding.
    try await sendMessage(
      unsafe payload.span.bytes, to: address, control: control, options: options, deadline: deadline
    )
  }

  /// Sends bytes gathered from several buffers to an address; see
  /// ``sendMessage(_:to:control:options:deadline:)``.
  public nonisolated func sendMessage(
    gathering pieces: borrowing GatherBuffers, to address: Address,
    control: ControlMessageBuffer = ControlMessageBuffer(),
    options: SendOptions = []
  ) async throws {
    let name = AnySocketAddress(address).bytes
    // SAFETY: an array of bytes has no padding.
    try await send(
      gathering: pieces, numbers: Span(), control: control, to: unsafe name.span.bytes, options)
  }

  /// Sets the peer: sends without an address go there, and only its messages are received. The C
  /// name is connect(2). May be called again.
  ///
  /// - Throws: ``SocketError``: `connectionRefused`, `notFound` and `notPermitted` (Unix),
  ///   `hostUnreachable` (UDP), `closed`, `loopShutDown`, `loopFailed`.
  public nonisolated func connect(to address: Address) async throws {
    try await connectOnLoop(to: AnySocketAddress(address))
  }
}

extension MessageSocket {
  func connectOnLoop(to address: AnySocketAddress) async throws {
    try await channel.connect(to: address)
  }
}
