// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
public import SocketEngine
internal import SystemPackage

/// A listening socket: ``UnixListener``, ``TCPListener``, ``VsockListener``, or one of yours.
public protocol SocketListener: LoopSocket {
  /// The type of the sockets that it makes of accepted connections.
  associatedtype Connection: MessageSocket

  /// Where accepted connections live; the listener's own loop if nil.
  nonisolated var connectionGroup: IOLoopGroup? { get }

  /// The limits on what the peers of accepted connections may send; by default there are none.
  nonisolated var receivePolicy: ReceivePolicy { get }

  /// Who may connect; anyone if not said otherwise.
  nonisolated var authorization: Authorization { get }

  /// Takes over a connection that was accepted.
  static func makeConnection(_ channel: SocketChannel) -> Connection
}

extension SocketListener {
  public nonisolated var receivePolicy: ReceivePolicy { ReceivePolicy() }
  public nonisolated var authorization: Authorization { .anyone }

  /// Waits for the next connection whose peer is authorized. The C name is accept4(2), with
  /// `SOCK_CLOEXEC`.
  ///
  /// A peer that is not is closed before a byte of it is read, reported
  /// (``Authorization/reporting(_:)``), and the next one is waited for. When the task is cancelled
  /// while an authorization looks at a peer, that connection is closed. None is accepted while many
  /// of the listener's connections have not been closed yet, because of descriptors that their
  /// peers have left in them: 64 that were refused, 1,024 that have ended, or an eighth of the soft
  /// `RLIMIT_NOFILE` if that is less; or so many that the process has no room (half of that limit).
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors` (the connection keeps waiting in the kernel; try
  ///   again when some are free), `closed`, `loopShutDown`, `loopFailed`. `CancellationError` when
  ///   the task was cancelled: then no connection was taken; one that won the race is returned. A
  ///   connection whose ``Authorization/custom(_:)`` rule throws because of the cancellation is
  ///   closed: it was taken from the queue before it was admitted.
  public nonisolated func accept() async throws -> Connection {
    while true {
      // Checked each time, because a task that reached the loop's thread without preferring the
      // loop continues elsewhere after a wait.
      if let connection = try await channel.isOnLoop ? acceptHere() : acceptOnLoop() {
        return connection
      }
    }
  }

  /// The connections that arrive from now on; ends when the listener is closed.
  ///
  /// A connection is accepted when it is asked for. Leaving the loop early, or cancelling its task,
  /// loses none that was not being authorized: what was not accepted waits in the kernel for the
  /// next iteration. Several concurrent iterations divide the connections among them. An error is
  /// thrown once, after which the iteration is at its end. See ``serve(_:onError:handler:)`` for
  /// handling them.
  public nonisolated var connections: ConnectionSequence<Self> {
    ConnectionSequence(listener: self)
  }

  private func acceptOnLoop() async throws -> Connection? { try await acceptHere() }

  /// Accepts on the loop's thread. Nil if the peer was refused, or if nothing was accepted because
  /// too many connections wait to be closed.
  private nonisolated func acceptHere() async throws -> Connection? {
    // Peers decide how long it takes to close their connections, so their number must stay bounded.
    if channel.hasTooManyUnclosed {
      _ = try channel.number(for: .accept)
      try await loop.sleep(for: .milliseconds(10))
      return nil
    }
    let descriptor = try await channel.accept()
    let isAdmitted: Bool
    do {
      isAdmitted = try await authorization.admits(descriptor)
    } catch {
      channel.refuse(descriptor)
      throw error
    }
    guard isAdmitted else {
      // Messages queued on the connection close with it, and may be hostile.
      channel.refuse(descriptor)
      return nil
    }
    return Self.makeConnection(
      SocketChannel(
        adopting: descriptor, boundTo: nil, kind: channel.kind,
        loop: connectionGroup?.next() ?? channel.loop,
        policy: receivePolicy, names: channel.names, closing: channel.endedConnections,
        isVsock: channel.isVsock))
  }
}

extension SocketForm {
  /// Makes the socket listen, and puts it on its loop.
  func listen(
    _ descriptor: consuming OwnedFd, boundTo file: consuming SocketFile? = nil,
    at address: AnySocketAddress, backlog: Int, on loop: IOLoop
  ) throws(SocketError) -> SocketChannel {
    let number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    // The socket is new, so no other process shares the open file to which this flag belongs.
    if loop.wantsNonblockingListeners {
      let changed = cms_set_nonblocking(number, true)
      guard changed == 0 else { throw SocketError(result: changed, .configure, address: address) }
    }
    let listening = cms_listen(number, Int32(clamping: backlog))
    guard listening == 0 else { throw SocketError(result: listening, .listen, address: address) }
    let names = SocketIdentity(kind: kind, at: (try? descriptor.localAddress()) ?? address)
    return SocketChannel(
      adopting: descriptor, boundTo: file, kind: kind, loop: loop, names: names,
      hasUntrustedPeers: true, isVsock: isVsock)
  }
}
