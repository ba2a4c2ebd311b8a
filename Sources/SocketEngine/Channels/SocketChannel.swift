package import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// An open socket on its loop: the descriptor, and one queue of operations for each direction.
///
/// Opaque outside this package: socket types hold one and pass it on. `@unchecked Sendable`: apart from `loop`, `kind` and `number`,
/// which are constant, all members are used on the loop's thread only.
public final class SocketChannel: @unchecked Sendable {
  /// The loop that the socket belongs to, for its whole life.
  public let loop: IOLoop
  package let kind: SocketKind
  let core: LoopCore
  /// The descriptor's number. Means nothing once the channel is closed.
  let number: Int32

  /// Closed when the channel ends, or by ``close()``, after the last operation.
  private var descriptor: OwnedFd?
  private var outgoing = OperationQueue()
  private var incoming = OperationQueue()
  private var closers: [Operation] = []
  private var isOpen = true

  package init(adopting descriptor: consuming OwnedFd, kind: SocketKind, loop: IOLoop) {
    self.loop = loop
    self.kind = kind
    core = loop.core
    number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    self.descriptor = consume descriptor
  }

  // An operation in use holds its channel: when the last reference goes, the kernel has none of its operations, and closing the
  // descriptor, as the deinit of `OwnedFd` does, is safe on any thread.

  /// Whether the caller runs on the loop's thread, as it must for all that follows.
  package var isOnLoop: Bool { core.isCurrent }

  // MARK: Starting operations

  /// An operation of this socket's, ready to be filled.
  ///
  /// - Throws: `CancellationError` if the task is cancelled already, ``SocketError/Code/closed``, ``SocketError/Code/loopShutDown``.
  func makeOperation(_ request: OperationRequest, _ name: SocketError.Operation) throws -> Operation {
    precondition(isOnLoop, "A channel was used outside its loop")
    try Task.checkCancellation()
    guard core.isRunning else { throw SocketError(.loopShutDown, name) }
    guard isOpen else { throw SocketError(.closed, name) }
    return core.makeOperation(request, channel: self)
  }

  /// Sends a filled operation on its way: to the kernel, or to the end of its queue.
  func start(_ operation: Operation) {
    if queue(of: operation, { $0.join(operation) }) { core.submit(operation) }
  }

  /// An operation has ended: the next of its direction goes to the kernel.
  func leave(_ operation: Operation) {
    if let next = queue(of: operation, { $0.leave(operation) }) { core.submit(next) }
    if !isOpen { finishClosing() }
  }

  private func queue<R>(of operation: Operation, _ body: (inout OperationQueue) -> R) -> R {
    switch operation.request {
    case .send, .connect: body(&outgoing)
    case .receive, .accept: body(&incoming)
    case .timer: preconditionFailure("A timer belongs to no socket")
    }
  }

  // MARK: Ending

  /// shutdown(2): ends one direction or both. Pending operations of that direction end by themselves.
  package func shutdown(read: Bool, write: Bool) throws(SocketError) {
    precondition(isOnLoop, "A channel was used outside its loop")
    guard isOpen else { throw SocketError(.closed, .shutdown) }
    let result = cms_shutdown(number, read, write)
    // A connection that the peer has closed already is shut down as well as can be.
    guard result >= 0 || -result == Errno.socketNotConnected.rawValue else { throw SocketError(result: result, .shutdown) }
  }

  /// Stops all operations of the socket, waits until the kernel has let go of them, and closes the descriptor. Closing again waits for the
  /// first closing. Not cancellable: it ends as soon as the kernel answers.
  package nonisolated(nonsending) func close() async {
    precondition(isOnLoop, "A channel was used outside its loop")
    isOpen = false
    outgoing.forEachFromTheBack { core.stop($0, .socketClosed) }
    incoming.forEachFromTheBack { core.stop($0, .socketClosed) }
    finishClosing()
    guard descriptor != nil else { return }
    let closed = core.makeEvent()
    closers.append(closed)
    _ = await core.outcomeIgnoringCancellation(of: closed)
  }

  private func finishClosing() {
    guard outgoing.isEmpty, incoming.isEmpty else { return }
    descriptor = nil
    let waiting = closers
    closers = []
    for closer in waiting { core.signal(closer) }
  }
}

extension SocketChannel {
  /// The executor for an actor that holds this channel: return it as the actor's `unownedExecutor`. The channel keeps it alive.
  public var unownedExecutor: UnownedSerialExecutor { unsafe loop.unownedSerialExecutor }
}
