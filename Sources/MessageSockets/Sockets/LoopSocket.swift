// SPDX-License-Identifier: Apache-2.0
public import SocketEngine

/// A socket that lives on a loop: what a ``MessageSocket`` and a ``SocketListener`` have in common.
/// Its options, its name, and its end.
public protocol LoopSocket: Actor {
  /// The open socket on its loop.
  nonisolated var channel: SocketChannel { get }
}

extension LoopSocket {
  /// The loop that the socket lives on. A listener's connections live there too, unless they are
  /// spread over a group.
  public nonisolated var loop: IOLoop { channel.loop }
}
