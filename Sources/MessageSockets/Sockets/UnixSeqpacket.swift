// SPDX-License-Identifier: Apache-2.0
public import SocketEngine

/// A connected Unix socket that keeps message boundaries: each receive returns one send, with its
/// descriptors. The C names are `AF_UNIX`, `SOCK_SEQPACKET`.
///
/// The kind to choose when both ends are yours: no framing, and no doubt which descriptors belong
/// to which message.
public actor UnixSeqpacket: UnixConnection {
  public static var kind: SocketKind { .seqpacket }

  public nonisolated let channel: SocketChannel

  public init(channel: SocketChannel) { self.channel = channel }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }
}
