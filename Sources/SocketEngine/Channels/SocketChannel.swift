package import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// An open socket on its loop, as socket types hold it: opaque outside this package.
///
/// Dropping the last reference closes the socket. All that the loop does with the socket is in ``OpenSocket``, which operations hold, so that this
/// object's end can be told from the end of the kernel's use.
public final class SocketChannel: Sendable {
  /// The loop that the socket belongs to, for its whole life.
  public let loop: IOLoop
  let socket: OpenSocket

  package init(adopting descriptor: consuming OwnedFd, kind: SocketKind, loop: IOLoop) {
    self.loop = loop
    socket = OpenSocket(adopting: descriptor, kind: kind, core: loop.core)
  }

  deinit {
    // Every awaited operation is held by a task that holds this object: none is left. A multishot receive may be: it must end before the
    // descriptor is closed. Nobody can start another one meanwhile, so that a false answer stays true.
    if socket.isReceivingAhead { loop.core.abandon(socket) }
  }

  /// The executor for an actor that holds this channel: return it as the actor's `unownedExecutor`. The channel keeps it alive.
  public var unownedExecutor: UnownedSerialExecutor { unsafe loop.unownedSerialExecutor }

  /// Whether the caller runs on the loop's thread, as it must for all that follows.
  package var isOnLoop: Bool { socket.core.isCurrent }

  /// shutdown(2): ends one direction or both. Pending operations of that direction end by themselves.
  package func shutdown(read: Bool, write: Bool) throws(SocketError) { try socket.shutdown(read: read, write: write) }

  /// Stops all operations of the socket, waits until the kernel has let go of them, and closes the descriptor. Closing again waits for the
  /// first closing. Not cancellable: it ends as soon as the kernel answers.
  package nonisolated(nonsending) func close() async {
    guard let closed = socket.startClosing() else { return }
    _ = await socket.core.outcomeIgnoringCancellation(of: closed)
  }
}
