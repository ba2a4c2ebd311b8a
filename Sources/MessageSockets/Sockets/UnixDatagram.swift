// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine
internal import SystemPackage

/// A Unix socket for messages without a connection: each goes to an address, whole and in order,
/// and may carry descriptors. The C names are `AF_UNIX`, `SOCK_DGRAM`.
///
/// Nothing is lost on the way: a sender waits while the receiver's queue is full
/// (`net.unix.max_dgram_qlen`, 512 messages or fewer).
public actor UnixDatagram: UnixSocket, DatagramSocket {
  public typealias Address = UnixAddress

  static let form = SocketForm(families: [cms_family_unix], kind: .datagram)

  public nonisolated let channel: SocketChannel

  init(channel: SocketChannel) { self.channel = channel }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }

  /// A socket without a name: it can send, and be answered only if it is connected by
  /// ``makePair(on:)``.
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors`; and as `IOLoop` does when the shared loop
  ///   cannot be started.
  public init(on loop: IOLoop? = nil) throws(SocketError) {
    self.init(
      channel: SocketChannel(
        adopting: try Self.form.make(), kind: .datagram, loop: try IOLoop.resolve(loop)))
  }

  /// Makes a socket that is bound to an address, where others send to. The C name is bind(2).
  ///
  /// - Parameters:
  ///   - address: A path, whose directory must exist; an abstract address; or
  ///     ``UnixAddress/autobind``, to have one chosen: ``LoopSocket/localAddress()``.
  ///   - binding: For a path: the file's permissions, and what becomes of it. By default only this
  ///     user may send, a dead socket's file is replaced, and the file is removed with the socket.
  ///   - settings: Options to set before it is bound, as ``SocketOption/passCredentials``.
  ///   - loop: The loop that the socket lives on; one of the shared loops if nil.
  /// - Throws: ``SocketError``, with the address: `addressInUse` (also: what stands at the path may
  ///   not be replaced; ``SocketError/detail`` says why), `notPermitted`, `notFound` (no such
  ///   directory), `outOfDescriptors`.
  public static func bind(
    to address: UnixAddress, binding: UnixBinding = UnixBinding(), settings: [SocketSetting] = [],
    on loop: IOLoop? = nil
  ) throws(SocketError) -> UnixDatagram {
    let loop = try IOLoop.resolve(loop)
    let descriptor = try form.make(settings: settings)
    let file = try binding.bind(descriptor, to: address)
    let names = SocketIdentity(kind: .datagram, at: try descriptor.localAddress())
    return UnixDatagram(
      channel: SocketChannel(
        adopting: descriptor, boundTo: file, kind: .datagram, loop: loop, names: names))
  }

  /// Takes over a socket that was made elsewhere: by socket activation, by another library,
  /// received in a message. It is set close-on-exec; its status flags stay as they are.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is; then it is closed.
  public init(adopting descriptor: consuming OwnedFd, on loop: IOLoop? = nil) throws(SocketError) {
    try Self.form.check(descriptor)
    self.init(
      channel: SocketChannel(adopting: descriptor, kind: .datagram, loop: try IOLoop.resolve(loop)))
  }

  /// Takes over a socket from another process, with the file that it is bound to.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`; the socket is then closed, and the file stays.
  package init(
    adopting descriptor: consuming OwnedFd, boundTo file: consuming SocketFile?, on loop: IOLoop?
  ) throws(SocketError) {
    try Self.form.check(descriptor)
    self.init(
      channel: SocketChannel(
        adopting: descriptor, boundTo: file, kind: .datagram, loop: try IOLoop.resolve(loop)))
  }

  /// Two sockets that are connected to each other. The C name is socketpair(2).
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors`, `outOfMemory`; and as `IOLoop` does when the
  ///   shared loop cannot be started.
  public static func makePair(on loop: IOLoop? = nil) throws(SocketError) -> (
    UnixDatagram, UnixDatagram
  ) {
    let (first, second) = try SocketChannel.makePair(.datagram, on: loop)
    return (UnixDatagram(channel: first), UnixDatagram(channel: second))
  }
}
