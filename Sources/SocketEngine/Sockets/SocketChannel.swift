// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import Synchronization
package import SystemPackage

/// An open socket on its loop, as socket types hold it: opaque outside this package.
///
/// Dropping the last reference closes the socket. All that the loop does with the socket is in
/// `OpenSocket`, which operations hold, so that the end of this object is distinct from the end of
/// the kernel's use.
public final class SocketChannel: Sendable {
  /// The loop that the socket belongs to.
  public let loop: IOLoop
  let socket: OpenSocket
  /// The names that the socket was made with, for its description.
  package let names: SocketIdentity
  let refused = AtomicLazyReference<ClosingQueue>()
  let ended = AtomicLazyReference<ClosingQueue>()

  /// Adopts a socket and binds it to a loop, which cannot be changed later.
  ///
  /// - Parameters:
  ///   - descriptor: A socket of that kind, from which no other code receives. Its status flags are
  ///     not changed.
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
  ///   - file: The file that bind(2) has made, to be removed with the socket.
  ///   - names: The addresses that the socket is bound and connected to, if known.
  ///   - closing: Where the descriptor is closed if not in place; by default with other sockets
  ///     without a listener.
  ///   - hasUntrustedPeers: Whether its peers are not authorized, like those of a listener. A
  ///     socket with a policy always counts as such.
  ///   - isVsock: Whether it is of the family `AF_VSOCK`.
  package init(
    adopting descriptor: consuming OwnedFd, boundTo file: consuming SocketFile?, kind: SocketKind,
    loop: IOLoop, namesSenders: Bool? = nil,
    policy: ReceivePolicy = ReceivePolicy(), names: SocketIdentity? = nil,
    closing: ClosingQueue = .alone,
    hasUntrustedPeers: Bool = false, isVsock: Bool = false
  ) {
    self.loop = loop
    self.names = names ?? SocketIdentity(kind: kind)
    socket = OpenSocket(
      adopting: descriptor, file: file, kind: kind,
      namesSenders: namesSenders ?? (kind == .datagram), policy: policy,
      closing: closing, hasUntrustedPeers: hasUntrustedPeers, isVsock: isVsock, core: loop.core)
  }

  /// A description for logs, such as `descriptor 7 at /run/app.sock` or
  /// `closed, connected to 127.0.0.1:53`. Makes no system call.
  package var description: String { socket.descriptorText + names.names }

  /// Which process removes the file that the socket is bound to; nil if the socket has no file that
  /// concerns this process.
  package var fileOwnership: SocketFileOwnership? { socket.fileOwnership }

  /// How the socket delivers.
  public var kind: SocketKind { socket.kind }

  /// Whether the socket is of the family `AF_VSOCK`.
  package var isVsock: Bool { socket.isVsock }

  deinit {
    // Every awaited operation is held by a task that holds this object, so there is none. There may
    // be a multishot receive, which must end before the descriptor is closed. No other can start
    // now, so a false answer stays true.
    if socket.isReceivingAhead { loop.core.handleReleased(socket) }
  }

  /// The executor for an actor that holds this channel: return it as the actor's `unownedExecutor`.
  /// The channel keeps it alive.
  public var unownedExecutor: UnownedSerialExecutor { unsafe loop.unownedSerialExecutor }

  /// Whether the caller runs on the loop's thread, as required for all methods below that do not
  /// say otherwise.
  @usableFromInline
  package var isOnLoop: Bool { socket.core.isCurrent }

  /// The descriptor's number, for calls that do not wait (options, names). Call on the loop's
  /// thread.
  package func number(for operation: SocketError.Operation) throws(SocketError) -> Int32 {
    precondition(isOnLoop, "A socket was used outside its loop")
    guard socket.isOpen else { throw SocketError(.closed, operation) }
    return socket.number
  }
}

// Everything below runs on the loop's thread, in the caller's isolation.

// MARK: Sending

extension SocketChannel {
  /// Sends one message completely, or throws an error that tells how much was sent. The caller
  /// keeps payload and descriptors unchanged until this returns. Callable from any thread.
  ///
  /// - Parameters:
  ///   - name: The encoded address to send to; empty for the peer of a connected socket.
  ///   - deadline: When to give up. A send that need not wait succeeds even if it has passed.
  @usableFromInline
  package nonisolated(nonsending) func send(
    _ payload: PayloadBytes, numbers: Span<FileDescriptor>, control: ControlMessageBuffer,
    to name: RawSpan = RawSpan(), flags: Int32,
    deadline: Deadline = .never
  ) async throws {
    guard isOnLoop else {
      return try await loop.loopActor.send(
        payload, numbers: numbers, control: control, to: name, flags: flags, deadline: deadline,
        on: self)
    }
    guard
      let operation = try startSend(
        payload, numbers: numbers, control: control, name: name, flags: flags)
    else { return }
    socket.core.addDeadline(deadline, to: operation)
    let result = await operation.endedSoon().takeResult()
    if result.errno != nil { throw sendError(result, name: name, numbers: numbers) }
  }

  private func sendError(_ result: OperationResult, name: RawSpan, numbers: Span<FileDescriptor>)
    -> any Error
  {
    // SAFETY: the name's bytes are copied during the call.
    let address = unsafe AnySocketAddress(systemBytes: name.withUnsafeBytes { unsafe Array($0) })
    // EINVAL has other causes too: an invalid control message, or flags.
    return naming(
      result.failure(
        .send, address: address, hadRing: result.errno == .invalidArgument && numbers.containsRing)!
    )
  }

  /// Starts a send; returns nil if there is nothing to send.
  @inline(__always)
  private func startSend(
    _ payload: PayloadBytes, numbers: Span<FileDescriptor>, control: ControlMessageBuffer,
    name: RawSpan, flags: Int32
  ) throws -> Operation? {
    if socket.kind == .stream, payload.byteCount == 0 {
      guard numbers.isEmpty, control.isEmpty else { throw SocketError(.emptyPayload, .send) }
      // sendmsg(2) would do nothing and return 0.
      try socket.checkStart(.send)
      return nil
    }
    if socket.isVsock { try checkVsock(payload, control, flags) }
    guard payload.pieceCount <= OperationMemory.maximumVectors else {
      throw SocketError(
        .messageTooLarge, .send,
        detail: "\(payload.pieceCount) buffers of at most \(OperationMemory.maximumVectors)")
    }
    // The kernel counts the descriptors of all control messages together, and would answer EINVAL.
    let count = numbers.count + control.descriptorCount
    if count > ControlMessages.maximumDescriptors {
      throw SocketError(
        .tooManyDescriptors, .send,
        detail: "\(count) of at most \(ControlMessages.maximumDescriptors)")
    }
    let pause = socket.sendBackoff(hasAddress: name.byteCount > 0, flags)
    // MSG_WAITALL is not passed to the kernel, which could be stopped while it sends the rest by
    // itself.
    let operation = try socket.makeOperation(
      .send(flags: flags & ~cms_msg_waitall | cms_msg_nosignal, pause: pause), .send)
    if flags & cms_msg_waitall != 0, socket.kind == .stream {
      operation.life.finishesOnceBegun = true
    }
    do {
      // The unnamed address belongs to sockets without a name, and makes bind(2) choose one.
      if name.byteCount == 2 {
        try unsafe checkDestination(
          AnySocketAddress(systemBytes: name.withUnsafeBytes { unsafe Array($0) }), .send)
      }
      operation.setPayload(payload)
      try operation.prepareSend(numbers: numbers, control: control, name: name, on: socket.core)
    } catch {
      operation.discard(on: socket.core)
      throw error
    }
    socket.start(operation)
    return operation
  }
}

// MARK: Receiving

// A task that waits for a message keeps little: everything that needs no wait is in separate
// functions.

extension SocketChannel {
  /// Receives one message with a multishot receive that continues to receive within `window`.
  ///
  /// - Parameter window: The new window, or nil to keep the current one.
  package nonisolated(nonsending) func receiveAhead(window: ReceiveWindow?) async throws
    -> CompletedOperation
  {
    let ended = await (try startReceiveAhead(window: window)).ended()
    // SAFETY: `in` is nil, so nothing is written.
    try unsafe settle(ended, in: nil)
    return ended
  }

  @inline(never)
  func startReceiveAhead(window: ReceiveWindow?) throws -> Operation {
    if let window { socket.setWindow(window) }
    guard socket.mayReceiveAhead else {
      return unsafe try startReceive(into: nil, flags: 0, deadline: .never)
    }
    try socket.checkUse(.receive)
    return nextMessage(flags: 0, deadline: .never, room: .max)
  }

  /// The next prefetched message, or one to wait for; or a copy of it.
  private func nextMessage(flags: Int32, deadline: Deadline, room: Int) -> Operation {
    socket.sendsInARow = 0
    let isPeek = flags & cms_msg_peek != 0
    if let message = socket.nextPrefetched(copying: isPeek, room: room) { return message }
    let waiter = socket.waitForMessage(copying: isPeek, room: room)
    socket.core.addDeadline(deadline, to: waiter)
    return waiter
  }

  /// Receives a message without waiting: a prefetched one if the socket receives ahead, otherwise
  /// one from the socket's queue. Returns nil also for the end and for errors, which the next
  /// receive finds.
  package nonisolated(nonsending) func receiveIfThere() async -> CompletedOperation? {
    guard let operation = startReceiveIfThere() else { return nil }
    let ended = await operation.ended()
    guard ended.isMessage else { return nil }
    return ended
  }

  private func startReceiveIfThere() -> Operation? {
    socket.sendsInARow = 0
    if socket.receivesBehindPrefetched {
      return socket.isOpen && socket.hasPrefetchedMessage
        ? socket.nextPrefetched(copying: false, room: .max) : nil
    }
    // It would have to wait behind a receive that waits.
    return socket.isReceiving
      ? nil : unsafe try? startReceiveNow(into: nil, flags: cms_msg_dontwait, isTry: true)
  }

  /// Receives one message into the caller's memory, which must stay unchanged until this returns; a
  /// prefetched message is copied there. Without `memory`, the engine supplies a buffer and the
  /// payload is copied out.
  ///
  /// - Parameter deadline: When to give up. A message that has arrived wins even if it has passed.
  @unsafe
  @usableFromInline
  package nonisolated(nonsending) func receive(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, deadline: Deadline = .never
  ) async throws -> CompletedOperation {
    let ended = await (unsafe try startReceive(into: memory, flags: flags, deadline: deadline))
      .ended()
    try unsafe settle(ended, in: memory)
    return ended
  }

  /// Starts a receive, or takes a prefetched message.
  @unsafe
  @inline(never)
  private func startReceive(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, deadline: Deadline
  ) throws -> Operation {
    if socket.receivesBehindPrefetched, flags & (cms_msg_errqueue | cms_msg_oob) == 0 {
      try socket.checkUse(.receive)
      if flags & cms_msg_dontwait != 0, !socket.isPrefetchedNext {
        throw SocketError(.wouldBlock, .receive)
      }
      return nextMessage(flags: flags, deadline: deadline, room: unsafe memory?.count ?? .max)
    }
    let operation = unsafe try startReceiveNow(into: memory, flags: flags)
    socket.core.addDeadline(deadline, to: operation)
    return operation
  }

  @unsafe
  private func startReceiveNow(
    into memory: UnsafeMutableRawBufferPointer?, flags: Int32, isTry: Bool = false
  ) throws -> Operation {
    let request = socket.core.receiveRequest(flags: socket.receiveFlags(flags))
    let operation = try socket.makeOperation(request, .receive)
    operation.isTry = isTry
    unsafe operation.prepareReceive(into: memory)
    if case .receive = operation.request, socket.core.acquiresReceiveMemoryEarly {
      operation.acquireReceiveMemory()
    }
    socket.start(operation)
    return operation
  }

  /// Completes a receive: copies a message's bytes to the caller's memory, accepts the end, or
  /// throws.
  @unsafe
  @inline(never)
  func settle(_ ended: borrowing CompletedOperation, in memory: UnsafeMutableRawBufferPointer?)
    throws
  {
    if let error = failure(of: ended, .receive) { throw error }
    if let memory = unsafe memory { unsafe ended.settleMessage(in: memory) }
  }

  /// Puts back the piece that was last received from a stream, with the bytes that were not used.
  /// The next receive returns those bytes and everything that came with them. Callable from any
  /// thread; it takes effect before the caller's next use of the socket.
  package func unread(_ piece: consuming OperationOutcome) {
    if isOnLoop {
      socket.unread(piece)
    } else {
      // Sent with the channel, so that the channel's end discards the piece.
      socket.core.inbox.send(.unread(self, UnreadPiece(piece)))
    }
  }

  /// Counts the descriptors that are taken from this socket's messages.
  package var takenDescriptors: TakenDescriptorCounter { socket.core.takenDescriptors }

  package func countTaken(_ count: Int) {
    // SAFETY: the core holds its counter, and the socket its core.
    unsafe Unmanaged.passUnretained(socket.core.takenDescriptors)._withUnsafeGuaranteedRef {
      $0.add(count)
    }
  }
}

// MARK: Errors

extension SocketChannel {
  /// The error to throw if an operation has failed.
  func failure(
    of ended: borrowing CompletedOperation, _ operation: SocketError.Operation,
    address: AnySocketAddress? = nil
  ) -> (
    any Error
  )? {
    ended.failure(operation, address: address).map { naming($0) }
  }

  /// Adds the socket's name to the error if the socket is still open. Errors that are no faults,
  /// and may be frequent, are left alone. Callable from any thread, for example by a task that does
  /// not belong to the loop.
  package func naming(_ error: any Error) -> any Error {
    guard isOnLoop, socket.isOpen, var error = error as? SocketError, error.code != .wouldBlock,
      error.code != .deadlineExceeded
    else {
      return error
    }
    error.socket = SocketIdentity(socket.number, kind: kind)
    if error.code == .loopFailed { error.errno = socket.core.failure }
    return error
  }

  func checkDestination(_ address: AnySocketAddress?, _ operation: SocketError.Operation)
    throws(SocketError)
  {
    guard let address, address.unix == .unnamed else { return }
    throw SocketError(
      .addressNotAvailable, operation, address: address,
      detail: "a socket without a name cannot be reached by an address")
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

  /// The socket type: `SOCK_STREAM`, `SOCK_SEQPACKET` or `SOCK_DGRAM`.
  package var type: Int32 {
    switch self {
    case .stream: cms_socket_stream
    case .seqpacket: cms_socket_seqpacket
    case .datagram: cms_socket_datagram
    }
  }
}

extension Span<FileDescriptor> {
  /// Whether the span contains an io_uring, which Linux refuses to send. Called after a send was
  /// refused.
  fileprivate var containsRing: Bool {
    indices.contains { self[$0].shownName == "anon_inode:[io_uring]" }
  }
}
