// SPDX-License-Identifier: Apache-2.0
public import SocketEngine

/// A connected Unix stream socket: bytes in order, without boundaries, and descriptors between
/// them. The C names are `AF_UNIX`, `SOCK_STREAM`.
///
/// A receive may return the bytes of several sends, or a part of one; frame your messages, or use
/// ``UnixSeqpacket``, which keeps boundaries.
public actor UnixStream: UnixConnection, StreamSocket {
  public static var kind: SocketKind { .stream }

  public nonisolated let channel: SocketChannel

  public init(channel: SocketChannel) { self.channel = channel }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }
}
