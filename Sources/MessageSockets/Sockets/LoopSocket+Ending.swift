// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine

/// Which direction of a connection to end.
public enum ShutdownDirection: Sendable {
  /// Receive no more: pending and later receives find the end. `SHUT_RD`.
  case receiving
  /// Send no more: the peer finds the end after what was sent. `SHUT_WR`.
  case sending
  /// `SHUT_RDWR`.
  case both
}

extension MessageSocket {
  /// Ends one direction of the connection, or both, for every process that has the socket. The C
  /// name is shutdown(2).
  ///
  /// - Throws: ``SocketError``: `closed`. A connection that the peer has closed already is not an
  ///   error.
  public nonisolated func shutdown(_ direction: ShutdownDirection) async throws {
    try await shutdownOnLoop(direction)
  }

  private func shutdownOnLoop(_ direction: ShutdownDirection) throws {
    try channel.shutdown(read: direction != .sending, write: direction != .receiving)
  }
}

extension LoopSocket {
  /// Closes the socket: pending operations end with the error `closed`, except those that succeed
  /// first; then the descriptor is closed.
  ///
  /// Returns when the kernel has let go of everything. Not cancellable; closing again is no error.
  /// A socket that is dropped without being closed is closed by its last reference. The kernel
  /// closes a listener's connections that were not accepted.
  ///
  /// With a ``ReceivePolicy``, and for a listener, another thread closes the descriptor: messages
  /// that nobody has received close with it, and a peer may have put descriptors there that take as
  /// long to close as it likes. If they take longer than a second, the call returns, and the socket
  /// closes when it can.
  public nonisolated func close() async {
    await closeOnLoop()
  }

  /// Gives the descriptor away, to hand it to another library or process: pending operations end
  /// with the error `closed`, and the socket counts as closed. Status flags are as they were; a
  /// Unix socket's file stays. Not cancellable.
  ///
  /// An end, or an error, that was received ahead is no hindrance; whoever has the descriptor finds
  /// the end again, a connection's reset maybe as its end.
  ///
  /// - Throws: ``SocketError``: `closed`; `messagesUnread` if messages that were received ahead
  ///   (``MessageSocket/messages``) have not been asked for: they could not be put back into the
  ///   kernel's queue. The socket is open then, and what waits goes on waiting: receive them, and
  ///   try again.
  public nonisolated func release() async throws -> OwnedFd { try await releaseOnLoop() }

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
  public nonisolated func duplicate() async throws -> OwnedFd { try await duplicateOnLoop() }

  private func duplicateOnLoop() throws -> OwnedFd { try channel.duplicate() }

  private func releaseOnLoop() async throws -> OwnedFd { try await channel.release() }

  private func closeOnLoop() async { await channel.close() }
}
