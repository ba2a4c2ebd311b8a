// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets

/// Which socket it was that an operation failed on.
public struct SocketIdentity: Hashable, Sendable {
  /// How it delivers.
  public let kind: SocketKind
  /// The address that the socket is bound to; nil if it has no name.
  public let localAddress: AnySocketAddress?
  /// The address that the socket is connected to; nil without a connection, or if the peer has no
  /// name.
  public let peerAddress: AnySocketAddress?

  /// Creates an identity from known addresses, without asking the kernel.
  package init(
    kind: SocketKind, at localAddress: AnySocketAddress? = nil,
    connectedTo peerAddress: AnySocketAddress? = nil
  ) {
    self.kind = kind
    self.localAddress = localAddress
    self.peerAddress = peerAddress
  }

  /// Asks the kernel for the addresses, with two system calls that do not wait.
  init(_ number: Int32, kind: SocketKind) {
    self.kind = kind
    localAddress = try? .local(of: number)
    peerAddress = try? .peer(of: number)
  }
}

extension SocketIdentity: CustomStringConvertible {
  /// `stream socket at /run/app.sock`, `datagram socket connected to 127.0.0.1:53`.
  public var description: String { "\(kind) socket" + names }

  /// The addresses as text, for example ` at /run/app.sock` or ` connected to 127.0.0.1:53`; empty
  /// if none is known.
  package var names: String {
    func isNamed(_ address: AnySocketAddress?) -> Bool {
      address != nil && address?.unix != .unnamed
    }
    var text = ""
    if isNamed(localAddress), let localAddress { text += " at \(localAddress)" }
    if isNamed(peerAddress), let peerAddress { text += " connected to \(peerAddress)" }
    return text
  }
}

extension AnySocketAddress {
  /// The address that a socket is bound to. The C name is getsockname(2).
  package static func local(of number: Int32) throws(SocketError) -> AnySocketAddress? {
    unsafe try reading { name, length in unsafe cms_local_name(number, name, length) }
  }

  /// The address that a socket is connected to. The C name is getpeername(2).
  package static func peer(of number: Int32) throws(SocketError) -> AnySocketAddress? {
    unsafe try reading { name, length in unsafe cms_peer_name(number, name, length) }
  }

  private static func reading(
    by call: (UnsafeMutableRawPointer, UnsafeMutablePointer<UInt32>) -> Int32
  ) throws(SocketError) -> AnySocketAddress? {
    var bytes = [UInt8](repeating: 0, count: 128)
    var length = UInt32(bytes.count)
    // SAFETY: `call` writes at most `length` bytes, the size of the array.
    let result = unsafe bytes.withUnsafeMutableBytes { unsafe call($0.baseAddress!, &length) }
    guard result == 0 else { throw SocketError(result: result, .query) }
    return AnySocketAddress(systemBytes: Array(bytes.prefix(Int(length))))
  }
}
