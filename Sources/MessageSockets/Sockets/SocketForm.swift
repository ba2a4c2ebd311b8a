// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SocketEngine
internal import SystemPackage

/// The form of a socket type: what it requires of a descriptor, and how it makes a new one.
struct SocketForm {
  /// `AF_UNIX`, `AF_VSOCK`, or `AF_INET` and `AF_INET6`.
  var families: [Int32]
  var kind: SocketKind
  /// Protocols such as `IPPROTO_TCP`; empty for any.
  var protocols: [Int32] = []
  /// Whether it is a listener.
  var isListening = false

  /// Whether it is of the family `AF_VSOCK`.
  var isVsock: Bool { families[0] == cms_family_vsock }

  /// Makes a socket of this form, and applies `settings`.
  ///
  /// - Throws: ``SocketError``: `outOfDescriptors`, `outOfMemory`, `notSupported`; and the errors
  ///   of setting the options.
  func make(family: Int32? = nil, settings: [SocketSetting] = []) throws(SocketError) -> OwnedFd {
    let descriptor = try OwnedFd(
      adoptingResult: cms_socket(family ?? families[0], kind.type), operation: .createSocket)
    for setting in settings { try setting.apply(to: descriptor) }
    return descriptor
  }

  /// Checks that a descriptor from elsewhere is such a socket, and sets close-on-exec. Its status
  /// flags do not change.
  ///
  /// - Throws: ``SocketError``: `wrongSocketKind`, with what it is; `badDescriptor`.
  func check(_ descriptor: borrowing OwnedFd) throws(SocketError) {
    let number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
    let family = try SocketOption<Int32>.family.get(number, .adopt)
    let type = try SocketOption<Int32>.type.get(number, .adopt)
    let isListening = try SocketOption<Bool>.isListening.get(number, .adopt)
    let protocolNumber = try SocketOption<Int32>.protocolNumber.get(number, .adopt)
    guard families.contains(family), type == kind.type, isListening == self.isListening else {
      throw SocketError(
        .wrongSocketKind, .adopt,
        detail:
          "it is \(Self.describe(family, type, isListening)); expected \(Self.describe(families[0], kind.type, self.isListening))"
      )
    }
    guard protocols.isEmpty || protocols.contains(protocolNumber) else {
      throw SocketError(
        .wrongSocketKind, .adopt,
        detail: "it speaks protocol \(protocolNumber); expected \(protocols[0])")
    }
    let result = cms_set_close_on_exec(number)
    guard result == 0 else { throw SocketError(result: result, .adopt) }
  }

  /// Takes over a listening socket of this form from elsewhere, with the address that it is bound
  /// to.
  ///
  /// - Throws: The errors of ``check(_:)``; the socket is then closed.
  func adoptListener(
    _ descriptor: consuming OwnedFd, boundTo file: consuming SocketFile? = nil, on loop: IOLoop?
  ) throws(SocketError) -> (SocketChannel, AnySocketAddress?) {
    var form = self
    form.isListening = true
    try form.check(descriptor)
    let address = try descriptor.localAddress()
    let loop = try IOLoop.resolve(loop)
    let channel = SocketChannel(
      adopting: descriptor, boundTo: file, kind: kind, loop: loop,
      names: SocketIdentity(kind: kind, at: address),
      hasUntrustedPeers: true, isVsock: isVsock)
    return (channel, address)
  }

  private static func describe(_ family: Int32, _ type: Int32, _ isListening: Bool) -> String {
    let families = [
      cms_family_unix: "Unix", cms_family_internet_v4: "IPv4", cms_family_internet_v6: "IPv6",
      cms_family_vsock: "vsock",
    ]
    let types = [
      cms_socket_stream: "stream", cms_socket_seqpacket: "seqpacket",
      cms_socket_datagram: "datagram",
    ]
    return
      "a \(families[family] ?? "family \(family)") \(types[type] ?? "type \(type)") \(isListening ? "listener" : "socket")"
  }
}

extension OwnedFd {
  /// Binds the socket with bind(2).
  func bind(to address: AnySocketAddress) throws(SocketError) {
    let number = withUnsafeFileDescriptor { $0.rawValue }
    // SAFETY: the kernel reads the bytes only during the call.
    let result = unsafe address.bytes.withUnsafeBytes {
      unsafe cms_bind(number, $0.baseAddress, UInt32($0.count))
    }
    guard result == 0 else { throw SocketError(result: result, .bind, address: address) }
  }

  /// The address that the socket is bound to. The C name is getsockname(2).
  func localAddress() throws(SocketError) -> AnySocketAddress? {
    try .local(of: withUnsafeFileDescriptor { $0.rawValue })
  }
}

extension SocketChannel {
  /// Makes two Unix sockets that are connected to each other. The C name is socketpair(2).
  static func makePair(_ kind: SocketKind, on loop: IOLoop?) throws(SocketError) -> (
    SocketChannel, SocketChannel
  ) {
    let loop = try IOLoop.resolve(loop)
    var first: Int32 = -1
    var second: Int32 = -1
    // SAFETY: the call writes two numbers, to local variables.
    let result = unsafe cms_unix_socketpair(kind.type, &first, &second)
    guard result == 0 else { throw SocketError(result: result, .createSocket) }
    return (
      SocketChannel(
        adopting: OwnedFd(adopting: FileDescriptor(rawValue: first)), kind: kind, loop: loop),
      SocketChannel(
        adopting: OwnedFd(adopting: FileDescriptor(rawValue: second)), kind: kind, loop: loop)
    )
  }
}
