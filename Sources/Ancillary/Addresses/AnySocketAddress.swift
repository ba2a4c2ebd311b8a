// SPDX-License-Identifier: Apache-2.0
/// An address of any family, as the bytes that the system uses: the sender of a message, the peer
/// of a connection.
///
/// Ask for the family that you expect (``unix``, ``internet``, ``vsock``), or decode a family of
/// your own with ``decode(as:)``.
public struct AnySocketAddress: Hashable, Sendable {
  /// The bytes of the `struct sockaddr`, at most 128.
  public let bytes: [UInt8]

  /// The bytes of an address whose family is known.
  public init(_ address: some SocketAddress) {
    bytes = address.withSocketAddressBytes { $0.copyToArray() }
  }

  /// Keeps the bytes that the system returned; nil if there are none, because the sender has no
  /// name.
  package init?(systemBytes bytes: [UInt8]) {
    if bytes.isEmpty { return nil }
    self.bytes = bytes
  }

  /// The address family: `AF_UNIX`, `AF_INET` …; nil if there are fewer than two bytes. The C name
  /// is `sa_family`.
  public var family: Int32? { SocketAddressHeader.family(in: bytes.rawSpan) }

  /// The address, if it is one of a Unix socket.
  public var unix: UnixAddress? { try? decode() }

  /// The address, if it is one of IPv4 or IPv6.
  public var internet: InternetAddress? { try? decode() }

  /// The address, if it is one of vsock.
  public var vsock: VsockAddress? { try? decode() }

  /// The address as one of a known family.
  ///
  /// - Throws: ``AncillaryError/Code/wrongFamily``, ``AncillaryError/Code/malformedAddress`` or
  ///   ``AncillaryError/Code/addressTooLong``.
  public func decode<Address: SocketAddress>(as type: Address.Type = Address.self)
    throws(AncillaryError) -> Address
  {
    try Address(decoding: bytes.rawSpan)
  }
}

extension AnySocketAddress: CustomStringConvertible {
  /// The text form of a known family; of others the number of the family and of the bytes.
  public var description: String {
    if let unix { return unix.description }
    if let internet { return internet.description }
    if let vsock { return vsock.description }
    return "an address of family \(family ?? 0), \(bytes.count) bytes"
  }
}

extension [UInt8] {
  /// The bytes, borrowed.
  fileprivate var rawSpan: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      // SAFETY: every byte of a byte array is initialized.
      unsafe span.bytes
    }
  }
}
