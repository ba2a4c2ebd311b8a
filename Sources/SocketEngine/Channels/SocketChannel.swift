// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import Synchronization
internal import SystemPackage

/// An open socket on its loop, as socket types hold it: opaque outside this package.
///
/// Dropping the last reference closes the socket. All that the loop does with the socket is in
/// ``OpenSocket``, which operations hold, so that this object's end can be told from the end of the
/// kernel's use.
public final class SocketChannel: Sendable {
  /// The loop that the socket belongs to, for its whole life.
  public let loop: IOLoop
  let socket: OpenSocket
  private let refusedQueue = AtomicLazyReference<ClosingQueue>()

  /// Closes a connection of this listener that was refused, on another thread.
  package func refuse(_ descriptor: consuming OwnedFd) { refused.close(descriptor) }

  /// How many of them have not been closed yet.
  package var refusedCount: Int { refusedQueue.load()?.count ?? 0 }

  /// Made when the first is refused. The bound is for all of them; as many threads, so that a peer
  /// that holds one up is in nobody's way.
  private var refused: ClosingQueue {
    refusedQueue.load() ?? refusedQueue.storeIfNil(ClosingQueue(threads: Self.maximumRefused))
  }

  /// How many refused connections may wait to be closed before a listener accepts no more.
  package static let maximumRefused = 64

  /// Puts a socket on a loop, for good.
  ///
  /// - Parameters:
  ///   - descriptor: A socket of that kind, which nobody else receives from. Its status flags stay
  ///     as they are.
  ///   - kind: What an empty message and a short send mean.
  ///   - namesSenders: Whether each received message is to say where it came from; by default what
  ///     is usual for the kind.
  ///   - policy: What peers may send.
  public convenience init(
    adopting descriptor: consuming OwnedFd, kind: SocketKind, loop: IOLoop,
    namesSenders: Bool? = nil,
    policy: ReceivePolicy = ReceivePolicy()
  ) {
    self.init(
      adopting: descriptor, boundTo: nil, kind: kind, loop: loop, namesSenders: namesSenders,
      policy: policy)
  }

  /// - Parameters:
  ///   - file: What bind(2) has made, to be removed with the socket.
  ///   - hasUntrustedPeers: Whether it has peers that nobody has authorized, as a listener has; one
  ///     with a policy always counts as such.
  package init(
    adopting descriptor: consuming OwnedFd, boundTo file: consuming BoundFile?, kind: SocketKind,
    loop: IOLoop, namesSenders: Bool? = nil,
    policy: ReceivePolicy = ReceivePolicy(), hasUntrustedPeers: Bool = false
  ) {
    self.loop = loop
    socket = OpenSocket(
      adopting: descriptor, file: file, kind: kind,
      namesSenders: namesSenders ?? (kind == .datagram), policy: policy,
      hasUntrustedPeers: hasUntrustedPeers, core: loop.core)
  }

  /// How the socket delivers.
  public var kind: SocketKind { socket.kind }

  deinit {
    // Every awaited operation is held by a task that holds this object: none is left. A multishot
    // receive may be: it must end before the descriptor is closed. Nobody can start another one
    // meanwhile, so that a false answer stays true.
    if socket.isReceivingAhead { loop.core.abandon(socket) }
  }

  /// The executor for an actor that holds this channel: return it as the actor's `unownedExecutor`.
  /// The channel keeps it alive.
  public var unownedExecutor: UnownedSerialExecutor { unsafe loop.unownedSerialExecutor }

  /// Whether the caller runs on the loop's thread, as it must for all that follows.
  package var isOnLoop: Bool { socket.core.isCurrent }

  /// shutdown(2): ends one direction or both. Pending operations of that direction end by
  /// themselves.
  package func shutdown(read: Bool, write: Bool) throws(SocketError) {
    try socket.shutdown(read: read, write: write)
  }

  /// Gives back the bytes that were received last from a stream, and not used: the next receive
  /// returns them. From any thread; what the caller does with the socket next comes after it.
  package func putBack(_ bytes: ArraySlice<UInt8>) {
    if isOnLoop {
      socket.putBack(bytes)
    } else {
      // With the channel, so that its end finds them.
      socket.core.inbox.send(.putBack(self, bytes))
    }
  }

  /// Counts what is taken out of this socket's messages.
  package var claims: DescriptorClaims { socket.core.claims }

  package func noteClaimed(_ count: Int) { socket.core.claims.add(count) }

  /// The descriptor's number, for calls that do not wait (options, names), on the loop's thread.
  ///
  /// - Throws: ``SocketError``: `closed`.
  package func number(for operation: SocketError.Operation) throws(SocketError) -> Int32 {
    precondition(isOnLoop, "A socket was used outside its loop")
    guard socket.isOpen else { throw SocketError(.closed, operation) }
    return socket.number
  }

  /// Sets what peers may send from now on; returns when nothing is received ahead any more, if the
  /// policy forbids that.
  ///
  /// - Throws: ``SocketError``: `closed`.
  package nonisolated(nonsending) func setPolicy(_ policy: ReceivePolicy) async throws(SocketError)
  {
    _ = try number(for: .configure)
    socket.setPolicy(policy)
    socket.limitReceivingAhead()
    // What is on its way until then counts as received before.
    if socket.isArmed, !socket.mayReceiveAhead {
      _ = await socket.waitUntilDisarmed().endedIgnoringCancellation()
    }
  }

  /// Stops all operations of the socket, waits until the kernel has let go of them, and gives the
  /// descriptor away; the socket counts as closed. Not cancellable.
  ///
  /// - Throws: ``SocketError``: `closed`; `messagesUnread` if messages have been received ahead:
  ///   then the socket stays open.
  package nonisolated(nonsending) func release() async throws -> OwnedFd {
    _ = try number(for: .release)
    if let released = socket.startReleasing() { _ = await released.endedIgnoringCancellation() }
    if let descriptor = socket.takeDescriptor() { return descriptor }
    throw SocketError(socket.isOpen ? .messagesUnread : .closed, .release)
  }

  /// Stops all operations of the socket, waits until the kernel has let go of them, and closes the
  /// descriptor. Closing again waits for the first closing. Not cancellable: it ends as soon as the
  /// kernel answers; where peers are not trusted and what they have left in the socket cannot be
  /// closed at once, after a second, and the descriptor closes later.
  package nonisolated(nonsending) func close() async {
    guard let closed = socket.startClosing() else { return }
    _ = await closed.endedIgnoringCancellation()
  }
}
