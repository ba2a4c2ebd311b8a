// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
internal import Synchronization
internal import SystemPackage

extension SocketChannel {
  /// Accepts one connection.
  package nonisolated(nonsending) func accept() async throws -> OwnedFd {
    let operation = try socket.makeOperation(.accept, .accept)
    socket.start(operation)
    let ended = await operation.ended()
    if let error = failure(of: ended, .accept) { throw error }
    var outcome = ended.takeOutcome()
    return outcome.descriptors.takeFirst()!
  }

  /// Connects to an address. While the listener's queue is full, it tries again after 1, 2, 4 … 32
  /// ms, because the kernel does not report when there is room.
  ///
  /// A ring would wait for room on one kernel thread per connection, and a cancellation that comes
  /// before that thread sleeps is lost (seen on Linux 6.18). With `O_NONBLOCK` on the socket, the
  /// kernel answers `EAGAIN` instead. Such a socket is new and used by nothing else, and the flag
  /// is cleared before the caller gets the socket. Datagram sockets, which may come from elsewhere,
  /// have no queue to wait for and keep their flags.
  package nonisolated(nonsending) func connect(to address: AnySocketAddress) async throws {
    try checkDestination(address, .connect)
    socket.connectsElsewhere()
    guard address.family == cms_family_unix, kind != .datagram else {
      return try await socket.isVsock ? connectOverVsock(to: address) : connectOnce(to: address)
    }
    var pause = Duration.milliseconds(1)
    _ = cms_set_nonblocking(try number(for: .connect), true)
    // Once the socket is closed, its number may belong to another file.
    defer { if socket.isOpen { _ = cms_set_nonblocking(socket.number, false) } }
    while true {
      do {
        return try await connectOnce(to: address)
      } catch let error as SocketError where error.errno == .resourceTemporarilyUnavailable {
        try await socket.core.sleep(for: pause)
        pause = min(pause * 2, .milliseconds(32))
      }
    }
  }

  /// Connects, and gives the errors of vsock the names that they have elsewhere: the kernel says
  /// `ECONNRESET` if no process listens or the listener's queue is full, and `ENODEV` if no
  /// transport leads to the address.
  ///
  /// `O_NONBLOCK` is set during the connect, as for Unix sockets.
  private nonisolated(nonsending) func connectOverVsock(to address: AnySocketAddress) async throws {
    try socket.checkStart(.connect)
    _ = cms_set_nonblocking(socket.number, true)
    defer { if socket.isOpen { _ = cms_set_nonblocking(socket.number, false) } }
    // SAFETY: the kernel reads the bytes only during the call.
    let status = unsafe address.bytes.withUnsafeBytes {
      unsafe cms_connect(socket.number, $0.baseAddress, UInt32($0.count))
    }
    guard status < 0 else { return }
    guard status == -Errno.nowInProgress.rawValue else {
      throw naming(Self.vsockError(Errno(rawValue: -status), address))
    }
    let operation = try socket.makeOperation(.awaitConnection, .connect)
    socket.start(operation)
    let ended = await operation.ended()
    guard let error = failure(of: ended, .connect, address: address) else { return }
    guard let error = error as? SocketError, error.code != .loopFailed, let errno = error.errno
    else { throw error }
    throw naming(Self.vsockError(errno, address))
  }

  private static func vsockError(_ errno: Errno, _ address: AnySocketAddress) -> SocketError {
    let code: SocketError.Code =
      switch errno {
      case .connectionReset: .connectionRefused
      case .operationNotSupportedByDevice: .hostUnreachable
      default: SocketError.Code(errno)
      }
    return SocketError(code, .connect, errno: errno, address: address)
  }

  private nonisolated(nonsending) func connectOnce(to address: AnySocketAddress) async throws {
    let operation = try socket.makeOperation(
      .connect(nameLength: UInt32(address.bytes.count)), .connect)
    // SAFETY: a byte array has no padding.
    unsafe operation.setName(address.bytes.span.bytes)
    socket.start(operation)
    let ended = await operation.ended()
    if let error = failure(of: ended, .connect, address: address) { throw error }
  }

  // MARK: Connections of a listener

  /// Closes a refused connection of this listener, on another thread. The peer sees the end
  /// immediately, because shutdown(2) comes first; no other process shares the connection yet and
  /// could be disturbed by that.
  package func refuse(_ descriptor: consuming OwnedFd) {
    _ = cms_shutdown(descriptor.withUnsafeFileDescriptor { $0.rawValue }, true, true)
    (refused.load() ?? refused.storeIfNil(ClosingQueue())).close(descriptor)
  }

  /// Where this listener's connections are closed if not in place. They share threads with the
  /// descriptors from their messages.
  package var endedConnections: ClosingQueue { ended.load() ?? ended.storeIfNil(ClosingQueue()) }

  /// How many refused connections of this listener are not closed yet.
  package var refusedCount: Int { refused.load()?.count ?? 0 }

  /// Whether so many connections of this listener wait to be closed that it must accept no more.
  package var hasTooManyUnclosed: Bool {
    refused.load()?.isFull(bound: ClosingLimits.forRefused) ?? false
      || ended.load()?.isFull(bound: ClosingLimits.forConnections) ?? false
  }
}
