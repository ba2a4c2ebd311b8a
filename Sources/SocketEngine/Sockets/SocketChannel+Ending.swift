// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import SystemPackage

extension SocketChannel {
  /// Calls shutdown(2) for one direction or both. Pending operations of that direction then end.
  package func shutdown(read: Bool, write: Bool) throws(SocketError) {
    try socket.shutdown(read: read, write: write)
  }

  /// Duplicates the descriptor. The socket does not change.
  package func duplicate() throws(SocketError) -> OwnedFd {
    // The number stays this socket's while the socket is open, and closing happens only on this
    // loop.
    let open = OwnedFd(adopting: FileDescriptor(rawValue: try number(for: .duplicate)))
    let copy = Result { () throws(Errno) in try open.duplicate() }
    _ = open.release()
    switch consume copy {
    case .success(let copy): return copy
    case .failure(let errno): throw SocketError(SocketError.Code(errno), .duplicate, errno: errno)
    }
  }

  /// Sets the policy from now on. If it forbids receiving ahead, returns once no multishot receive
  /// is in progress.
  package nonisolated(nonsending) func setPolicy(_ policy: ReceivePolicy) async throws(SocketError)
  {
    _ = try number(for: .configure)
    socket.setPolicy(policy)
    socket.limitReceivingAhead()
    // Messages that arrive until then count as received before.
    if socket.isArmed, !socket.mayReceiveAhead {
      _ = await socket.waitUntilDisarmed().endedIgnoringCancellation()
    }
  }

  /// Stops all operations of the socket, waits until the kernel no longer uses their memory, and
  /// gives the descriptor away; the socket then counts as closed. Not cancellable.
  ///
  /// - Throws: ``SocketError``: `closed`; `messagesUnread` if there are prefetched messages, in
  ///   which case the socket stays open.
  package nonisolated(nonsending) func release() async throws -> OwnedFd {
    _ = try number(for: .release)
    // First stop receiving ahead, while waiting tasks continue to wait: if messages have come, the
    // release fails without having changed anything.
    socket.pauseReceivingAhead()
    if socket.isArmed { _ = await socket.waitUntilDisarmed().endedIgnoringCancellation() }
    if socket.isOpen, !socket.multishot.hasPrefetchedMessage {
      if let released = socket.startReleasing() { _ = await released.endedIgnoringCancellation() }
      if let descriptor = socket.takeDescriptor() { return descriptor }
    }
    socket.resumeReceivingAhead()
    throw SocketError(socket.isOpen ? .messagesUnread : .closed, .release)
  }

  /// Stops all operations of the socket, waits until the kernel no longer uses their memory, and
  /// closes the descriptor. A second call waits for the first. Not cancellable: it returns as soon
  /// as the kernel answers. If peers are not trusted and the socket's unread messages cannot be
  /// closed quickly, it returns after a second, and the descriptor closes later.
  package nonisolated(nonsending) func close() async {
    guard let closed = socket.startClosing() else { return }
    _ = await closed.endedIgnoringCancellation()
  }
}
