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
  /// Sets the peer: sends without an address go there, and only its messages are received. The C
  /// name is connect(2). May be called again.
  ///
  /// - Throws: ``SocketError``: `connectionRefused`, `notFound` and `notPermitted` (Unix),
  ///   `hostUnreachable` (UDP), `closed`, `loopShutDown`, `loopFailed`.
  public func connect(to address: Address) async throws {
    try await channel.connect(to: AnySocketAddress(address))
  }
}

extension MessageSocket {
  func connectOnLoop(to address: AnySocketAddress) async throws {
    try await channel.connect(to: address)
  }
}
