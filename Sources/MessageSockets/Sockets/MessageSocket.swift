// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine

/// A socket that sends and receives messages with control data.
///
/// The sockets of this package are such sockets: ``UnixStream``, ``UnixSeqpacket`` and
/// ``UnixDatagram``, which also carry descriptors (``UnixSocket``), ``TCPStream``, ``UDPSocket``,
/// ``VsockStream`` and ``VsockSeqpacket``. A type of your own (netlink, raw IP) becomes one by
/// being an actor that holds a channel and runs on its loop:
/// ```swift
/// actor NetlinkSocket: MessageSocket {
///   nonisolated let channel: SocketChannel
///   nonisolated var unownedExecutor: UnownedSerialExecutor { channel.unownedExecutor }
///
///   init() throws {
///     let number = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)  // NETLINK_ROUTE
///     …
///     channel = SocketChannel(adopting: OwnedFd(adopting: FileDescriptor(rawValue: number)), kind: .datagram, loop: try .currentOrShared())
///   }
/// }
/// ```
/// All methods may be called from anywhere. In a task that prefers the socket's loop
/// (``IOLoop/run(_:)``) they never leave its thread; elsewhere a call costs one hop to the loop and
/// one back.
public protocol MessageSocket: LoopSocket {}

extension MessageSocket {
  /// Ends one direction of the connection, or both, for every process that has the socket. The C
  /// name is shutdown(2).
  ///
  /// - Throws: ``SocketError``: `closed`. A connection that the peer has closed already is not an
  ///   error.
  public func shutdown(_ direction: ShutdownDirection) throws {
    try channel.shutdown(read: direction != .sending, write: direction != .receiving)
  }

  /// Returns the address that the socket is connected to; nil if the peer has no name. The C name
  /// is getpeername(2).
  ///
  /// - Throws: ``SocketError``: `notConnected`, `closed`.
  public func peerAddress() throws -> AnySocketAddress? {
    try .peer(of: channel.number(for: .query))
  }
}

/// The direction of a connection to end.
public enum ShutdownDirection: Sendable {
  /// Receive no more: pending and later receives find the end. `SHUT_RD`.
  case receiving
  /// Send no more: the peer finds the end after what was sent. `SHUT_WR`.
  case sending
  /// `SHUT_RDWR`.
  case both
}

// When a server stops, its connections drain: messages that have arrived are handled, and then the
// connections end.

extension MessageSocket {
  /// Whether the connection's server accepts no more connections and waits for its handlers to
  /// return; true from ``startDraining()`` on. May be asked on any thread, and costs an atomic
  /// load.
  public nonisolated var isDraining: Bool { channel.isDraining }

  /// Tells the code that handles this socket to finish.
  ///
  /// Iterations made by ``MessageSequence/untilDraining()`` and ``ByteSequence/untilDraining()``
  /// end as soon as they would have to wait, ``waitUntilDraining()`` returns, and ``isDraining`` is
  /// true. All other calls go on as before: nothing is cancelled or closed, and nothing that was
  /// received is lost. Messages are no longer received ahead of demand.
  ///
  /// ``SocketListener/serve(_:onError:handler:)`` calls it for all of its connections when it stops
  /// accepting. Call it yourself for connections that you handle otherwise. Calling it again
  /// changes nothing. Returns without a wait, on any thread; there is no way back.
  public nonisolated func startDraining() { channel.startDraining() }

  /// Waits until the socket drains; returns directly if it does already.
  ///
  /// For a handler that waits for something else than messages: run it in a task of its own beside
  /// that.
  ///
  /// - Throws: ``SocketError``: `closed` (the socket was closed or released first), `loopShutDown`,
  ///   `loopFailed`. `CancellationError` when the task was cancelled.
  public func waitUntilDraining() async throws { try await channel.waitUntilDraining() }
}
