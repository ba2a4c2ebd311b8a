// SPDX-License-Identifier: Apache-2.0
/// An address of an internet socket: host, port and, for IPv6, scope and flow. The C names are
/// `struct sockaddr_in` (ip(7)) and `struct sockaddr_in6` (ipv6(7)).
///
/// As text: `192.0.2.1:80`, `[2001:db8::1]:80`, `[fe80::1%2]:80`. The scope is an interface's
/// number; to turn a name into it, ask the system (`if_nametoindex`). The flow label has no text
/// form.
public struct InternetAddress: Hashable, Sendable {
  /// The host's address. Cases may not be added: there are two families of `sockaddr` behind it.
  public enum Host: Hashable, Sendable {
    /// The C name is `AF_INET`.
    case v4(IPv4Address)
    /// The C name is `AF_INET6`.
    case v6(IPv6Address)
  }

  /// The host, of either family.
  public var host: Host

  /// The port, in the host's byte order; 0 lets the system choose in bind(2).
  public var port: UInt16

  /// The interface that a link-local IPv6 address belongs to, by number; 0 for none, and always for
  /// IPv4. The C name is `sin6_scope_id`.
  public var scopeID: UInt32

  /// Traffic class and flow label of IPv6, in the host's byte order; 0 for none, and always for
  /// IPv4. The C name is `sin6_flowinfo`.
  public var flowInfo: UInt32

  /// An IPv4 address and port. Where the compiler has the choice, as in
  /// `InternetAddress(.any, port: 8080)`, it takes this one: for IPv6 write `.any as IPv6Address`,
  /// which as a rule also receives what comes by IPv4.
  public init(_ address: IPv4Address, port: UInt16) {
    (host, self.port, scopeID, flowInfo) = (.v4(address), port, 0, 0)
  }

  /// An IPv6 address and port.
  public init(_ address: IPv6Address, port: UInt16, scopeID: UInt32 = 0, flowInfo: UInt32 = 0) {
    (host, self.port, self.scopeID, self.flowInfo) = (.v6(address), port, scopeID, flowInfo)
  }
}

extension InternetAddress: SocketAddress {
  /// `sizeof (struct sockaddr_in)`.
  static var byteCountV4: Int { 16 }
  /// `sizeof (struct sockaddr_in6)`.
  static var byteCountV6: Int { 28 }

  /// 16 bytes (`sizeof (struct sockaddr_in)`), or 28 (`sockaddr_in6`).
  public var encodedByteCount: Int {
    switch host {
    case .v4: Self.byteCountV4
    case .v6: Self.byteCountV6
    }
  }

  /// Appends a `struct sockaddr_in` or `sockaddr_in6`.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) {
    switch host {
    case .v4(let address):
      SocketAddressHeader.append(
        family: SocketAddressHeader.internetV4, total: encodedByteCount, to: &output)
      output.append(bigEndian: port)
      output.append(bigEndian: address.value)
      output.append(zeroes: 8)
    case .v6(let address):
      SocketAddressHeader.append(
        family: SocketAddressHeader.internetV6, total: encodedByteCount, to: &output)
      output.append(bigEndian: port)
      output.append(bigEndian: flowInfo)
      address.encode(into: &output)
      output.append(integer: scopeID)
    }
  }

  /// Reads a `struct sockaddr_in` or `sockaddr_in6`; bytes behind it are ignored.
  ///
  /// - Throws: ``AncillaryError/Code/wrongFamily``; ``AncillaryError/Code/malformedAddress`` below
  ///   16 or 28 bytes.
  public init(decoding bytes: RawSpan) throws(AncillaryError) {
    guard let family = SocketAddressHeader.family(in: bytes) else {
      throw AncillaryError(.malformedAddress)
    }
    switch family {
    case SocketAddressHeader.internetV4:
      try Self.check(bytes, Self.byteCountV4)
      self.init(IPv4Address(in: bytes, at: 4), port: bytes.loadBigEndian(at: 2))
    case SocketAddressHeader.internetV6:
      try Self.check(bytes, Self.byteCountV6)
      self.init(
        IPv6Address(in: bytes, at: 8), port: bytes.loadBigEndian(at: 2),
        scopeID: bytes.load(at: 24),
        flowInfo: bytes.loadBigEndian(at: 4))
    default:
      throw AncillaryError(
        .wrongFamily, actual: Int(family), limit: Int(SocketAddressHeader.internetV4))
    }
  }

  private static func check(_ bytes: RawSpan, _ needed: Int) throws(AncillaryError) {
    guard bytes.byteCount >= needed else {
      throw AncillaryError(.malformedAddress, actual: bytes.byteCount, limit: needed)
    }
  }
}

extension InternetAddress: LosslessStringConvertible {
  /// The text form: `192.0.2.1:80`, `[fe80::1%2]:80`. Without the flow label.
  public var description: String {
    switch host {
    case .v4(let address): "\(address):\(port)"
    case .v6(let address): scopeID == 0 ? "[\(address)]:\(port)" : "[\(address)%\(scopeID)]:\(port)"
    }
  }

  /// Reads the text form; the port must be there.
  public init?(_ description: String) {
    guard let colon = description.lastIndex(of: ":"),
      let port = UInt16(plainDecimal: description[description.index(after: colon)...])
    else { return nil }
    let host = description[..<colon]
    guard host.first == "[" else {
      guard let address = IPv4Address(parsing: host) else { return nil }
      self.init(address, port: port)
      return
    }
    guard host.count >= 2, host.last == "]" else { return nil }
    let parts = host.dropFirst().dropLast().split(
      separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    guard let address = IPv6Address(parsing: parts[0]) else { return nil }
    guard parts.count == 2 else {
      self.init(address, port: port)
      return
    }
    guard let scope = UInt32(plainDecimal: parts[1]) else { return nil }
    self.init(address, port: port, scopeID: scope)
  }
}
