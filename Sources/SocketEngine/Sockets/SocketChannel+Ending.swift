// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import SystemPackage

extension SocketChannel {
  /// shutdown(2): ends one direction or both. Pending operations of that direction end by
  /// themselves.
  package func shutdown(read: Bool, write: Bool) throws(SocketError) {
    try socket.shutdown(read: read, write: write)
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
