// SPDX-License-Identifier: Apache-2.0
public import SocketEngine

/// A connected vsock stream socket: bytes in order, without boundaries, between a virtual machine
/// and its host. The C names are `AF_VSOCK`, `SOCK_STREAM`; see vsock(7).
///
/// A "message" is what one receive returns. It carries no descriptors and no control messages. An
/// empty message is not sent. Where the other end of the connection has closed with bytes unread,
/// this end finds the normal end, and not a reset.
public actor VsockStream: VsockConnection, StreamSocket {
  public static var kind: SocketKind { .stream }

  public nonisolated let channel: SocketChannel

  public init(channel: SocketChannel) { self.channel = channel }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }
}
