// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine
internal import SystemPackage

/// A connected Unix socket: ``UnixStream`` or ``UnixSeqpacket``. See unix(7).
public protocol UnixConnection: UnixSocket {
  /// The kind of the socket.
  static var kind: SocketKind { get }

  /// Takes over a channel of this ``kind``.
  init(channel: SocketChannel)
}

extension UnixConnection {
  static var form: SocketForm { SocketForm(families: [cms_family_unix], kind: kind) }

  /// Takes over a socket that was made elsewhere: by socket activation, by another library,
  /// received in a message. It is set close-on-exec; its status flags stay as they are.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is; then it is closed.
  public init(adopting descriptor: consuming OwnedFd, on loop: IOLoop? = nil) throws(SocketError) {
    try Self.form.check(descriptor)
    self.init(
      channel: SocketChannel(adopting: descriptor, kind: Self.kind, loop: try IOLoop.resolve(loop)))
  }

  /// Two sockets that are connected to each other. The C name is socketpair(2).
  ///
  /// - Parameter loop: where both live; by default the loop of the current task, or the process's
  ///   shared one.
  /// - Throws: ``SocketError``: `outOfDescriptors`, `outOfMemory`; and as `IOLoop` does when the
  ///   shared loop cannot be started.
  public static func makePair(on loop: IOLoop? = nil) throws(SocketError) -> (Self, Self) {
    let (first, second) = try SocketChannel.makePair(kind, on: loop)
    return (Self(channel: first), Self(channel: second))
  }

  /// Connects to the listener at `address`. The C name is connect(2). Waits while the listener's
  /// queue is full.
  ///
  /// - Parameters:
  ///   - address: The listener's.
  ///   - settings: Options to set before it connects, as ``SocketOption/passCredentials``.
  ///   - loop: The loop that the socket lives on; one of the shared loops if nil.
  /// - Throws: ``SocketError``: `notFound` (no such file), `connectionRefused` (no listener),
  ///   `notPermitted` (write permission on the socket file is needed), `wrongSocketKind` (the
  ///   listener is of the other kind; at an abstract address that is `connectionRefused`).
  ///   `CancellationError` when the task was cancelled first.
  public static func connect(
    to address: UnixAddress, settings: [SocketSetting] = [], on loop: IOLoop? = nil
  ) async throws -> Self {
    let name = AnySocketAddress(address)
    let channel = SocketChannel(
      adopting: try form.make(settings: settings), boundTo: nil, kind: kind,
      loop: try IOLoop.resolve(loop),
      names: SocketIdentity(kind: kind, connectedTo: name))
    let socket = Self(channel: channel)
    try await socket.connectOnLoop(to: name)
    return socket
  }
}

extension UnixConnection {
  /// Returns the identity of the process at the other end.
  ///
  /// - Throws: ``SocketError``: `closed`. Not an error: what this kernel does not tell is nil.
  public func peerIdentity() throws -> PeerIdentity {
    PeerIdentity(ofPeerOf: try channel.number(for: .query))
  }

  /// A descriptor for the process at the other end, which never means another one, even when the
  /// number is reused: to wait for its end, to signal it, to look at it (``ProcessFd/processID``).
  /// The C name is `SO_PEERPIDFD`, Linux 6.5.
  ///
  /// Nil where the kernel does not have it: a pidfd made from the number of ``PeerIdentity`` could
  /// be another process's, and is not offered.
  ///
  /// - Throws: ``SocketError``: `closed`; `system` with the errno `noSuchProcess` if the process
  ///   has ended (some kernels give a descriptor all the same); `outOfDescriptors`.
  public func peerProcess() throws -> ProcessFd? {
    var descriptor: Int32 = -1
    var length: UInt32 = 4
    // SAFETY: the kernel writes four bytes, to a local variable.
    let result = unsafe cms_get_option(
      try channel.number(for: .query), cms_sol_socket, PeerOption.process.rawValue, &descriptor,
      &length)
    if result == 0, descriptor >= 0 {
      return ProcessFd(adopting: OwnedFd(adopting: FileDescriptor(rawValue: descriptor)))
    }
    let errno = Errno(rawValue: -result)
    switch errno {
    case .protocolNotAvailable, .notSupported: return nil
    // Older kernels report these for a process that was waited for, and for an end of a pair that
    // has no peer.
    case .invalidArgument, .noData: throw SocketError(result: -Errno.noSuchProcess.rawValue, .query)
    default: throw SocketError(result: result, .query)
    }
  }
}
