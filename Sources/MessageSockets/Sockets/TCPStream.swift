// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine

/// A TCP connection. See tcp(7).
///
/// A "message" is what one receive returns: bytes without boundaries. It carries no descriptors,
/// but control messages of its own kinds.
public actor TCPStream: StreamSocket {
  /// TCP, and Multipath TCP.
  static let form = SocketForm(
    families: [cms_family_internet_v4, cms_family_internet_v6], kind: .stream, protocols: [6, 262])

  public nonisolated let channel: SocketChannel

  init(channel: SocketChannel) { self.channel = channel }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }

  /// Takes over a connected TCP socket that was made elsewhere; see
  /// ``UnixDatagram/init(adopting:on:)``.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is; then it is closed.
  public init(adopting descriptor: consuming OwnedFd, on loop: IOLoop? = nil) throws(SocketError) {
    try Self.form.check(descriptor)
    self.init(
      channel: SocketChannel(adopting: descriptor, kind: .stream, loop: try IOLoop.resolve(loop)))
  }

  /// Connects to `address`. The C name is connect(2). Waits for the peer's answer, about two
  /// minutes if none comes.
  ///
  /// - Parameters:
  ///   - address: The listener's.
  ///   - settings: Options to set before it connects, as ``SocketOption/receiveBufferSize``, which
  ///     the connection's window depends on.
  ///   - loop: The loop that the socket lives on; one of the shared loops if nil.
  /// - Throws: ``SocketError``, with the address: `connectionRefused`, `timedOut`,
  ///   `hostUnreachable`, `notSupported` (no IPv6). `CancellationError` when the task was cancelled
  ///   first.
  public static func connect(
    to address: InternetAddress, settings: [SocketSetting] = [], on loop: IOLoop? = nil
  ) async throws -> TCPStream {
    let descriptor = try form.make(family: address.family, settings: settings)
    let name = AnySocketAddress(address)
    let channel = SocketChannel(
      adopting: descriptor, boundTo: nil, kind: .stream, loop: try IOLoop.resolve(loop),
      names: SocketIdentity(kind: .stream, connectedTo: name))
    let socket = TCPStream(channel: channel)
    try await socket.connectOnLoop(to: name)
    return socket
  }
}
