// SPDX-License-Identifier: Apache-2.0
public import SocketEngine

/// A socket that lives on a loop: what a ``MessageSocket`` and a ``SocketListener`` have in common.
/// Its options, its name, and its end.
public protocol LoopSocket: Actor, CustomStringConvertible {
  /// The open socket on its loop.
  nonisolated var channel: SocketChannel { get }
}

extension LoopSocket {
  /// The loop that the socket lives on. A listener's connections live there too, unless they are
  /// spread over a group.
  public nonisolated var loop: IOLoop { channel.loop }

  /// For logs: the type, the descriptor's number or that it was closed, and what the socket was
  /// bound or connected to when it was made, as
  /// `UnixStream(descriptor 7, connected to /run/app.sock)`. Makes no system call; the names are
  /// safe to print, whatever a peer has called itself. See ``localAddress()`` and
  /// ``MessageSocket/peerAddress()`` for the names that it has now.
  public nonisolated var description: String { "\(Self.self)(\(channel.description))" }
}
