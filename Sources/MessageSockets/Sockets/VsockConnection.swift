// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine

/// A connected vsock socket: ``VsockStream`` or ``VsockSeqpacket``. See vsock(7).
public protocol VsockConnection: MessageSocket {
  /// The kind of the socket.
  static var kind: SocketKind { get }

  /// Takes over a channel of this ``kind``, as ``VsockListener`` makes it.
  init(channel: SocketChannel)
}

extension VsockConnection {
  static var form: SocketForm { SocketForm(families: [cms_family_vsock], kind: kind) }

  /// The loop on which a socket of this kind is to live.
  ///
  /// - Throws: ``SocketError``: `notSupported` for sequential packets on a ring of Linux before
  ///   6.0, where it was not seen that messages stay whole.
  static func resolve(_ loop: IOLoop?) throws(SocketError) -> IOLoop {
    let loop = try IOLoop.resolve(loop)
    guard kind == .seqpacket, loop.driver.isRingWithoutMultishot else { return loop }
    throw SocketError(
      .notSupported, .createSocket,
      detail: "vsock seqpacket sockets need Linux 6.0 on io_uring; epoll has them since 5.14")
  }

  /// Takes over a connected vsock socket that was made elsewhere; see
  /// ``UnixDatagram/init(adopting:on:)``.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is; `notSupported`, as
  ///   ``connect(to:settings:on:)``. Then it is closed.
  public init(adopting descriptor: consuming OwnedFd, on loop: IOLoop? = nil) throws(SocketError) {
    try Self.form.check(descriptor)
    self.init(
      channel: SocketChannel(
        adopting: descriptor, boundTo: nil, kind: Self.kind, loop: try Self.resolve(loop),
        isVsock: true))
  }

  /// Connects to the listener at `address`. The C name is connect(2). Waits for the peer's answer,
  /// for two seconds if none comes (``SocketOption/vsockConnectTimeout``).
  ///
  /// - Parameters:
  ///   - address: The listener's: ``VsockContextID/host`` from within a virtual machine, the
  ///     machine's number from the host.
  ///   - settings: Options to set before it connects, as ``SocketOption/vsockConnectTimeout``.
  ///   - loop: The loop that the socket lives on; one of the shared loops if nil.
  /// - Throws: ``SocketError``, with the address: `connectionRefused` (no listener, or its queue is
  ///   full), `timedOut`, `hostUnreachable` (no transport leads there), `notSupported` (this kernel
  ///   has no vsock; for sequential packets also: the transport has none, or Linux before 6.0 on
  ///   io_uring). `CancellationError` when the task was cancelled first.
  public static func connect(
    to address: VsockAddress, settings: [SocketSetting] = [], on loop: IOLoop? = nil
  ) async throws -> Self {
    let name = AnySocketAddress(address)
    let loop = try resolve(loop)
    let channel = SocketChannel(
      adopting: try form.make(settings: settings), boundTo: nil, kind: kind, loop: loop,
      names: SocketIdentity(kind: kind, connectedTo: name), isVsock: true)
    let socket = Self(channel: channel)
    try await socket.connectOnLoop(to: name)
    return socket
  }

  /// Returns the machine at the other end, which the transport vouches for: a virtual machine
  /// cannot take the number of another one. Which process it is, vsock does not tell.
  ///
  /// - Throws: ``SocketError``: `closed`, `notConnected`.
  public func peerContext() throws -> VsockContextID {
    guard let address = try peerAddress()?.vsock else { throw SocketError(.notConnected, .query) }
    return address.context
  }
}

extension VsockContextID {
  /// Asks the kernel for the number of this machine: 3 or more in a virtual machine, 2 on a host.
  /// The C name is `IOCTL_VM_SOCKETS_GET_LOCAL_CID`.
  ///
  /// - Throws: ``SocketError``: `notFound` (no `/dev/vsock`: this kernel has no vsock),
  ///   `notPermitted`, `outOfDescriptors`.
  public static func ofThisMachine() throws(SocketError) -> VsockContextID {
    let result = cms_vsock_local_context()
    guard result >= 0 else { throw SocketError(result: Int32(clamping: result), .query) }
    return VsockContextID(rawValue: UInt32(truncatingIfNeeded: result))
  }
}
