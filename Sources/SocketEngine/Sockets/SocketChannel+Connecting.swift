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

  /// Connects to an address; while the listener's queue is full it tries again, after 1, 2, 4 … 32
  /// ms: the kernel does not tell when there is room.
  ///
  /// A ring would wait for room on a kernel thread for each connection, and a cancellation that
  /// comes before that thread sleeps is lost (seen on Linux 6.18). With `O_NONBLOCK` on the socket
  /// it says `EAGAIN` instead. Such a socket is new and nobody else's, and the flag is off again
  /// before anyone gets it. Datagram sockets, which may come from elsewhere, have no queue to wait
  /// for, and keep their flags.
  package nonisolated(nonsending) func connect(to address: AnySocketAddress) async throws {
    try checkDestination(address, .connect)
    socket.connectsElsewhere()
    guard address.family == cms_family_unix, kind != .datagram else {
      return try await connectOnce(to: address)
    }
    var pause = Duration.milliseconds(1)
    _ = cms_set_nonblocking(try number(for: .connect), true)
    // Its number is another's once it is closed.
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

  private nonisolated(nonsending) func connectOnce(to address: AnySocketAddress) async throws {
    let operation = try socket.makeOperation(
      .connect(nameLength: UInt32(address.bytes.count)), .connect)
    // SAFETY: an array of bytes has no padding.
    unsafe operation.setName(address.bytes.span.bytes)
    socket.start(operation)
    let ended = await operation.ended()
    if let error = failure(of: ended, .connect, address: address) { throw error }
  }

  // MARK: Connections of a listener

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
}
