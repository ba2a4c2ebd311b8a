// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
public import SocketEngine
internal import SystemPackage

/// A listening Unix socket, which makes connections of one kind: `UnixListener<UnixStream>` or
/// `UnixListener<UnixSeqpacket>`.
/// ```swift
/// let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: "/run/app.sock"))
/// for try await connection in listener.connections { … }
/// ```
public actor UnixListener<Connection: UnixConnection>: SocketListener {
  public nonisolated let channel: SocketChannel

  /// The address that the listener is bound to.
  public nonisolated let address: UnixAddress

  public nonisolated let connectionGroup: IOLoopGroup?

  public nonisolated let authorization: Authorization

  public nonisolated let receivePolicy: ReceivePolicy

  private init(
    channel: SocketChannel, address: UnixAddress, group: IOLoopGroup?, authorization: Authorization,
    policy: ReceivePolicy
  ) {
    self.channel = channel
    self.address = address
    connectionGroup = group
    self.authorization = authorization
    receivePolicy = policy
  }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }

  public static func makeConnection(_ channel: SocketChannel) -> Connection {
    Connection(channel: channel)
  }

  /// Takes over a listening socket that was made elsewhere: by socket activation (descriptors 3 and
  /// up, `LISTEN_FDS`; sd_listen_fds(3)), by another library, received in a message. It is set
  /// close-on-exec; its status flags stay as they are. A file that it is bound to is left alone.
  ///
  /// On epoll, where the listener is not `O_NONBLOCK`, a thread accepts for the loop: other
  /// processes that accept from it cannot block the loop, and each connection costs some 30 µs
  /// more.
  ///
  /// - Parameters:
  ///   - descriptor: A Unix socket of this type's kind that listens.
  ///   - authorization: Who may connect: by default processes of this process's user, and root
  ///     (``Authorization/sameUser``).
  ///   - policy: What the peers may send: how many descriptors, of which kinds. Give one if peers
  ///     are not trusted.
  ///   - loop: The loop that the listener lives on; one of the shared loops if nil.
  ///   - group: Loops to spread the accepted connections over, in turn.
  ///     ``SocketListener/serve(_:onError:handler:)`` handles each where it lives. By default those
  ///     of ``IOLoopGroup/shared()``; where `loop` is given, or the caller is in
  ///     ``IOLoop/run(_:)``, connections stay on the listener's loop.
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is (also: it does not listen); then
  ///   it is closed.
  public init(
    adopting descriptor: consuming OwnedFd, authorization: Authorization = .sameUser,
    policy: ReceivePolicy = ReceivePolicy(),
    on loop: IOLoop? = nil,
    connectionsOn group: IOLoopGroup? = nil
  ) throws(SocketError) {
    let group = try IOLoopGroup.resolve(group, on: loop)
    // A Unix socket can only listen if it is bound.
    let (channel, name) = try Connection.form.adoptListener(descriptor, on: loop)
    self.init(
      channel: channel, address: name?.unix ?? .unnamed, group: group, authorization: authorization,
      policy: policy)
  }

  /// Takes over a listening socket from another process, with the file that it is bound to.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`; the socket is then closed, and the file stays.
  package init(
    adopting descriptor: consuming OwnedFd, boundTo file: consuming SocketFile?,
    authorization: Authorization, policy: ReceivePolicy,
    on loop: IOLoop?, connectionsOn group: IOLoopGroup?
  ) throws(SocketError) {
    let (channel, name) = try Connection.form.adoptListener(descriptor, boundTo: file, on: loop)
    self.init(
      channel: channel, address: name?.unix ?? .unnamed, group: group, authorization: authorization,
      policy: policy)
  }

  /// Binds a new socket and starts to listen. The C names are bind(2) and listen(2).
  ///
  /// - Parameters:
  ///   - address: A path, whose directory must exist; or an abstract address, which ends with the
  ///     listener.
  ///   - backlog: How many connections may wait to be accepted; the kernel takes at most
  ///     `net.core.somaxconn` (4,096).
  ///   - binding: For a path: the file's permissions, and what becomes of it. By default only this
  ///     user may connect, a dead socket's file is replaced, and the file is removed with the
  ///     listener.
  ///   - authorization: Who may connect: by default processes of this process's user, and root
  ///     (``Authorization/sameUser``).
  ///   - policy: What the peers may send: how many descriptors, of which kinds. Give one if peers
  ///     are not trusted.
  ///   - settings: Options to set before it is bound, as ``SocketOption/passCredentials``, which
  ///     accepted connections inherit from the first byte on.
  ///   - loop: The loop that the listener lives on; one of the shared loops if nil.
  ///   - group: Loops to spread the accepted connections over, in turn.
  ///     ``SocketListener/serve(_:onError:handler:)`` handles each where it lives. By default those
  ///     of ``IOLoopGroup/shared()``; where `loop` is given, or the caller is in
  ///     ``IOLoop/run(_:)``, connections stay on the listener's loop.
  /// - Throws: ``SocketError``, with the address: `addressInUse` (also: what stands at the path may
  ///   not be replaced; ``SocketError/detail`` says why), `notPermitted`, `notFound` (no such
  ///   directory), `outOfDescriptors`.
  public static func bind(
    to address: UnixAddress, backlog: Int = 1024, binding: UnixBinding = UnixBinding(),
    authorization: Authorization = .sameUser,
    policy: ReceivePolicy = ReceivePolicy(), settings: [SocketSetting] = [], on loop: IOLoop? = nil,
    connectionsOn group: IOLoopGroup? = nil
  ) throws(SocketError) -> UnixListener {
    let group = try IOLoopGroup.resolve(group, on: loop)
    let loop = try IOLoop.resolve(loop)
    let descriptor = try Connection.form.make(settings: settings)
    let file = try binding.bind(descriptor, to: address)
    // Connections inherit the option, so descriptors cannot even be sent to a connection that has
    // not been accepted yet.
    if policy.maximumDescriptorsPerMessage == 0 { try descriptor.refuseDescriptors() }
    let channel = try Connection.form.listen(
      descriptor, boundTo: file, at: AnySocketAddress(address), backlog: backlog, on: loop)
    return UnixListener(
      channel: channel, address: address, group: group, authorization: authorization, policy: policy
    )
  }
}

extension OwnedFd {
  /// Sets `SO_PASSRIGHTS` to false. If the kernel does not support it, the policy closes
  /// descriptors that arrive.
  fileprivate func refuseDescriptors() throws(SocketError) {
    let number = withUnsafeFileDescriptor { $0.rawValue }
    do throws(SocketError) {
      try SocketOption.passDescriptors.set(number, to: false)
    } catch  where error.code == .notSupported {}
  }
}
