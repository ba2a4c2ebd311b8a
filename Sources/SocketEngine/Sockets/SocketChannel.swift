// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import Synchronization
internal import SystemPackage

/// An open socket on its loop, as socket types hold it: opaque outside this package.
///
/// Dropping the last reference closes the socket. All that the loop does with the socket is in
/// `OpenSocket`, which operations hold, so that this object's end can be told from the end of the
/// kernel's use.
public final class SocketChannel: Sendable {
  /// The loop that the socket belongs to, for its whole life.
  public let loop: IOLoop
  let socket: OpenSocket
  /// The names that the socket was made with, for its description.
  package let names: SocketIdentity
  private let refused = AtomicLazyReference<ClosingQueue>()
  private let ended = AtomicLazyReference<ClosingQueue>()

  /// Closes a connection of this listener that was refused, on another thread. The peer finds the
  /// end at once: no other process can have the connection yet, and lose it.
  package func refuse(_ descriptor: consuming OwnedFd) {
    _ = cms_shutdown(descriptor.withUnsafeFileDescriptor { $0.rawValue }, true, true)
    (refused.load() ?? refused.storeIfNil(ClosingQueue())).close(descriptor)
  }

  /// Where the connections of this listener are closed, if that is not done in place. They and what
  /// their messages bring share threads.
  package var endedConnections: ClosingQueue { ended.load() ?? ended.storeIfNil(ClosingQueue()) }

  /// How many refused connections of this listener have not been closed yet.
  package var refusedCount: Int { refused.load()?.count ?? 0 }

  /// Whether so many connections of this listener wait to be closed that it is to accept no more.
  package var hasTooManyUnclosed: Bool {
    refused.load()?.isFull(bound: ClosingLimits.forRefused) ?? false
      || ended.load()?.isFull(bound: ClosingLimits.forConnections) ?? false
  }

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
  ///   - names: What the socket is bound or connected to, as far as that is known.
  ///   - closing: Where the descriptor is closed, if that is not done in place; by default with
  ///     other sockets of no listener.
  ///   - hasUntrustedPeers: Whether it has peers that nobody has authorized, as a listener has; one
  ///     with a policy always counts as such.
  package init(
    adopting descriptor: consuming OwnedFd, boundTo file: consuming SocketFile?, kind: SocketKind,
    loop: IOLoop, namesSenders: Bool? = nil,
    policy: ReceivePolicy = ReceivePolicy(), names: SocketIdentity? = nil,
    closing: ClosingQueue = .alone,
    hasUntrustedPeers: Bool = false
  ) {
    self.loop = loop
    self.names = names ?? SocketIdentity(kind: kind)
    socket = OpenSocket(
      adopting: descriptor, file: file, kind: kind,
      namesSenders: namesSenders ?? (kind == .datagram), policy: policy,
      closing: closing, hasUntrustedPeers: hasUntrustedPeers, core: loop.core)
  }

  /// For logs: `descriptor 7 at /run/app.sock`, `closed, connected to 127.0.0.1:53`. No system call
  /// is made.
  package var description: String { socket.descriptorText + names.names }

  /// Whose task it is to remove the file that the socket is bound to; nil if it has none that this
  /// process has ever to do with.
  package var fileOwnership: SocketFileOwnership? { socket.fileOwnership }

  /// How the socket delivers.
  public var kind: SocketKind { socket.kind }

  deinit {
    // Every awaited operation is held by a task that holds this object: none is left. A multishot
    // receive may be: it must end before the descriptor is closed. Nobody can start another one
    // meanwhile, so that a false answer stays true.
    if socket.isReceivingAhead { loop.core.handleReleased(socket) }
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

  /// Gives back the piece that was received last from a stream, and not used up: the next receive
  /// returns what is left of its bytes, and what came with it. From any thread; what the caller
  /// does with the socket next comes after it.
  package func unread(_ piece: consuming OperationOutcome) {
    if isOnLoop {
      socket.unread(piece)
    } else {
      // With the channel, so that its end finds them.
      socket.core.inbox.send(.unread(self, UnreadPiece(piece)))
    }
  }

  /// Counts what is taken out of this socket's messages.
  package var takenDescriptors: TakenDescriptorCounter { socket.core.takenDescriptors }

  package func countTaken(_ count: Int) { socket.core.takenDescriptors.add(count) }

  /// The descriptor's number, for calls that do not wait (options, names), on the loop's thread.
  ///
  /// - Throws: ``SocketError``: `closed`.
  package func number(for operation: SocketError.Operation) throws(SocketError) -> Int32 {
    precondition(isOnLoop, "A socket was used outside its loop")
    guard socket.isOpen else { throw SocketError(.closed, operation) }
    return socket.number
  }

  /// Another descriptor of the same open file. The socket stays as it is.
  ///
  /// - Throws: ``SocketError``: `closed`, `outOfDescriptors`.
  package func duplicate() throws(SocketError) -> OwnedFd {
    // The number is this socket's for as long as it is open, and nothing is closed on its loop
    // meanwhile.
    let open = OwnedFd(adopting: FileDescriptor(rawValue: try number(for: .duplicate)))
    let copy = Result { () throws(Errno) in try open.duplicate() }
    _ = open.release()
    switch consume copy {
    case .success(let copy): return copy
    case .failure(let errno): throw SocketError(SocketError.Code(errno), .duplicate, errno: errno)
    }
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
    // First nothing is received ahead any more, while those that wait for messages go on waiting:
    // if messages have come, nothing has happened.
    socket.pauseReceivingAhead()
    if socket.isArmed { _ = await socket.waitUntilDisarmed().endedIgnoringCancellation() }
    if socket.isOpen, !socket.multishot.hasPrefetchedMessage {
      if let released = socket.startReleasing() { _ = await released.endedIgnoringCancellation() }
      if let descriptor = socket.takeDescriptor() { return descriptor }
    }
    socket.resumeReceivingAhead()
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

/// How a socket delivers; decides what an empty message and a short send mean.
public enum SocketKind: Sendable {
  /// `SOCK_STREAM`: bytes in order; an empty read is the end.
  case stream
  /// `SOCK_SEQPACKET`: messages in order, whole, on a connection that ends.
  case seqpacket
  /// `SOCK_DGRAM`, `SOCK_RAW`: messages, whole, each with its sender; there is no end.
  case datagram

  /// `SOCK_STREAM`, `SOCK_SEQPACKET`, `SOCK_DGRAM`.
  package var type: Int32 {
    switch self {
    case .stream: cms_socket_stream
    case .seqpacket: cms_socket_seqpacket
    case .datagram: cms_socket_datagram
    }
  }
}
