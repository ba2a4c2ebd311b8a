public import Ancillary
internal import CMessageSockets
public import SocketEngine
internal import SystemPackage

/// A connected Unix socket: ``UnixStream`` or ``UnixSeqpacket``. See unix(7).
public protocol UnixConnection: MessageSocket {
  /// What kind of socket it is.
  static var kind: SocketKind { get }

  /// Takes over a channel of this ``kind``.
  init(channel: SocketChannel)
}

extension UnixConnection {
  /// Two sockets that are connected to each other. The C name is socketpair(2).
  ///
  /// - Parameter loop: where both live; by default the loop of the current task, or the process's shared one.
  /// - Throws: ``SocketError``: `outOfDescriptors`, `outOfMemory`; and as `IOLoop` does when the shared loop cannot be started.
  public static func makePair(on loop: IOLoop? = nil) throws(SocketError) -> (Self, Self) {
    let loop = if let loop { loop } else { try IOLoop.currentOrShared() }
    var first: Int32 = -1
    var second: Int32 = -1
    let result = unsafe cms_unix_socketpair(kind.type, &first, &second)
    guard result == 0 else { throw SocketError(result: result, .createSocket) }
    return (
      Self(channel: SocketChannel(adopting: OwnedFd(adopting: FileDescriptor(rawValue: first)), kind: kind, loop: loop)),
      Self(channel: SocketChannel(adopting: OwnedFd(adopting: FileDescriptor(rawValue: second)), kind: kind, loop: loop))
    )
  }

  /// Connects to the listener at `address`. The C name is connect(2). Waits while the listener's queue is full.
  ///
  /// - Throws: ``SocketError``: `notFound` (no such file), `connectionRefused` (nobody listens), `notPermitted` (write permission on the socket file is
  ///   needed), `wrongSocketKind` (the listener is of the other kind; at an abstract address that is `connectionRefused`). `CancellationError` when the task was cancelled first.
  public static func connect(to address: UnixAddress, on loop: IOLoop? = nil) async throws -> Self {
    let loop = if let loop { loop } else { try IOLoop.currentOrShared() }
    let descriptor = try OwnedFd(adoptingResult: cms_unix_socket(kind.type), operation: .createSocket)
    let socket = Self(channel: SocketChannel(adopting: descriptor, kind: kind, loop: loop))
    try await socket.connectOnLoop(to: address)
    return socket
  }

  private func connectOnLoop(to address: UnixAddress) async throws { try await channel.connect(to: address) }
}
