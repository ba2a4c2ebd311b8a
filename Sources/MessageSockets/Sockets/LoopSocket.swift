// SPDX-License-Identifier: Apache-2.0
public import Ancillary
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

  /// A text for logs: the type, the descriptor's number or that it was closed, and what the socket
  /// was bound or connected to when it was made, as
  /// `UnixStream(descriptor 7, connected to /run/app.sock)`. Makes no system call; the names are
  /// safe to print, whatever a peer has called itself. See ``localAddress()`` and
  /// ``MessageSocket/peerAddress()`` for the names that it has now.
  public nonisolated var description: String { "\(Self.self)(\(channel.description))" }

  /// Returns the address that the socket is bound to; nil if it has no name. The C name is
  /// getsockname(2).
  ///
  /// - Throws: ``SocketError``: `closed`.
  public func localAddress() throws -> AnySocketAddress? {
    try .local(of: channel.number(for: .query))
  }
}

extension LoopSocket {
  /// Closes the socket: pending operations end with the error `closed`, except those that succeed
  /// first; then the descriptor is closed.
  ///
  /// It returns when the kernel no longer uses the socket or the memory of its operations. It is
  /// not cancellable. Closing again is no error. A socket that is dropped without being closed is
  /// closed by its last reference. The kernel closes a listener's connections that were not
  /// accepted.
  ///
  /// With a ``ReceivePolicy``, and for a listener, another thread closes the descriptor: unreceived
  /// messages close with it, and may contain descriptors of a peer that take arbitrarily long to
  /// close. If they take longer than a second, the call returns, and the socket closes later.
  public func close() async { await channel.close() }

  /// Gives the descriptor away, to hand it to another library or process: pending operations end
  /// with the error `closed`, and the socket counts as closed. Status flags are as they were; a
  /// Unix socket's file stays. Not cancellable.
  ///
  /// An end or an error that was received ahead does not prevent this. The new owner finds the end
  /// again; a reset may appear there as a normal end.
  ///
  /// - Throws: ``SocketError``: `closed`; `messagesUnread` if messages that were received ahead
  ///   (``MessageSocket/messages``) have not been asked for: they could not be put back into the
  ///   kernel's queue. The socket is open then, and what waits goes on waiting: receive them, and
  ///   try again.
  public func release() async throws -> OwnedFd { try await channel.release() }

  /// Makes another descriptor of the socket, to pass it on while it is in use: to a successor, to a
  /// child process, into a table of descriptors. The C name is fcntl(2) with `F_DUPFD_CLOEXEC`.
  ///
  /// Nothing of the socket ends or changes. Both descriptors stand for one open file:
  /// - Two users of a listener share its connections out between them; two receivers of a socket,
  ///   its messages. Messages that this socket has received ahead (``MessageSocket/messages``) stay
  ///   here.
  /// - Status flags, options and ``MessageSocket/shutdown(_:)`` are common to both.
  /// - **The peer finds the end only when all duplicates are closed.** One that is kept in a table
  ///   hides that this socket was closed; a listener goes on listening, and keeps its address.
  ///   Where the connection is to end, ``MessageSocket/shutdown(_:)`` it before ``close()``.
  /// - A path's file goes with this listener; the duplicate keeps no file.
  ///   Use ``UnixBinding/removesFile`` where a successor takes the path over.
  ///
  /// Not cancellable: nothing is waited for but the loop.
  ///
  /// - Throws: ``SocketError``: `closed`; `outOfDescriptors`.
  public func duplicate() throws -> OwnedFd { try channel.duplicate() }
}
