// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// The address of a Unix-domain socket. The C name is `struct sockaddr_un` (unix(7)).
///
/// Four things can stand in its 108 bytes of `sun_path`: a path, an abstract name (Linux), nothing
/// because the socket has no name, or nothing because bind(2) is asked to choose an abstract name
/// (``autobind``).
///
/// As text, a path stands for itself, `@name` is abstract, `*` is unnamed; bytes that would be
/// mistaken or not be seen are written `\x00`. Text and bytes convert into each other without loss.
public struct UnixAddress: Hashable, Sendable {
  /// The kind of an address. Kinds may be added: keep a `default` in every `switch`.
  public enum Kind: Hashable, Sendable {
    /// A file in the file system.
    case path
    /// A name outside the file system, which ends with the socket (Linux).
    case abstract
    /// No name: as a peer's address, a socket that was never bound.
    case unnamed
  }

  /// The kind of this address.
  public let kind: Kind

  /// The bytes of the path, without the NUL at its end; those of the abstract name, without the NUL
  /// at its start; none for an unnamed socket.
  public let nameBytes: [UInt8]

  private init(kind: Kind, nameBytes: [UInt8]) {
    self.kind = kind
    self.nameBytes = nameBytes
  }

  /// No name.
  public static var unnamed: UnixAddress { UnixAddress(kind: .unnamed, nameBytes: []) }

  /// An address for bind(2) only, which asks Linux for a free abstract name of five hexadecimal
  /// digits. The very same bytes as ``unnamed``, and equal to it.
  public static var autobind: UnixAddress { unnamed }

  /// The longest path in bytes: all of `sun_path`. At 108 bytes there is no room for the NUL at the
  /// end, which Linux accepts; most other software stops at 107 (``maximumPortablePathLength``).
  public static var maximumPathLength: Int { 108 }

  /// The longest path that leaves room for the NUL at its end.
  public static var maximumPortablePathLength: Int { 107 }

  /// The longest abstract name in bytes, without the NUL that marks it.
  public static var maximumAbstractLength: Int { 107 }

  /// The address of a file.
  ///
  /// - Throws: ``AncillaryError/Code/addressTooLong`` above ``maximumPathLength``;
  ///   ``AncillaryError/Code/malformedAddress`` for an empty path. (For longer paths open the
  ///   directory, and bind to `/proc/self/fd/N/name`.)
  public init(path: FilePath) throws(AncillaryError) {
    // SAFETY: the string ends with a NUL, and is copied before the closure returns.
    let bytes = unsafe path.withPlatformString { start in
      var length = 0
      while unsafe start[length] != 0 { length += 1 }
      return unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: length))
    }
    try self.init(pathBytes: bytes)
  }

  /// The address of a file whose path is `pathBytes`, kept byte for byte.
  ///
  /// - Throws: ``AncillaryError/Code/addressTooLong`` above ``maximumPathLength``;
  ///   ``AncillaryError/Code/malformedAddress`` for an empty path or one with a NUL inside.
  public init(pathBytes: [UInt8]) throws(AncillaryError) {
    guard pathBytes.count <= Self.maximumPathLength else {
      throw AncillaryError(.addressTooLong, actual: pathBytes.count, limit: Self.maximumPathLength)
    }
    guard !pathBytes.isEmpty, !pathBytes.contains(0) else {
      throw AncillaryError(.malformedAddress)
    }
    self.init(kind: .path, nameBytes: pathBytes)
  }

  /// An abstract name: any bytes, NULs and all, and even none; every byte counts, also NULs at the
  /// end (Linux 2.2).
  ///
  /// - Throws: ``AncillaryError/Code/addressTooLong`` above ``maximumAbstractLength``.
  public init(abstract name: [UInt8]) throws(AncillaryError) {
    guard name.count <= Self.maximumAbstractLength else {
      throw AncillaryError(.addressTooLong, actual: name.count, limit: Self.maximumAbstractLength)
    }
    self.init(kind: .abstract, nameBytes: name)
  }

  /// An abstract name in UTF-8.
  ///
  /// - Throws: ``AncillaryError/Code/addressTooLong`` above ``maximumAbstractLength`` bytes.
  public init(abstract name: String) throws(AncillaryError) {
    try self.init(abstract: Array(name.utf8))
  }

  /// The path; `nil` for the other kinds. (`FilePath` drops doubled and trailing slashes:
  /// ``nameBytes`` has all bytes.)
  public var path: FilePath? {
    guard kind == .path else { return nil }
    // SAFETY: the array ends with a NUL.
    return unsafe FilePath(
      platformString: nameBytes.map { CInterop.PlatformChar(bitPattern: $0) } + [0])
  }
}

extension UnixAddress: SocketAddress {
  /// The family's two bytes and those of the name: 2 to 110 bytes.
  public var encodedByteCount: Int {
    let header = SocketAddressHeader.byteCount
    return switch kind {
    case .unnamed: header
    case .abstract: header + 1 + nameBytes.count
    // The terminating NUL counts if there is room for it.
    case .path: header + min(nameBytes.count + 1, Self.maximumPathLength)
    }
  }

  /// Appends a `struct sockaddr_un`, as short as the name allows.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) {
    SocketAddressHeader.append(
      family: SocketAddressHeader.unix, total: encodedByteCount, to: &output)
    if kind == .abstract { output.append(0) }
    // SAFETY: every byte of a byte array is initialized.
    output.append(copying: unsafe nameBytes.span.bytes)
    if kind == .path, nameBytes.count < Self.maximumPathLength { output.append(0) }
  }

  /// Reads a `struct sockaddr_un` of the length that the system returned. Linux returns 111 bytes
  /// for a path of 108: give it room for that, or cut the bytes to your buffer's length first.
  ///
  /// No bytes at all, and a family alone, are unnamed.
  ///
  /// - Throws: ``AncillaryError/Code/wrongFamily``; ``AncillaryError/Code/malformedAddress`` for a
  ///   single byte; ``AncillaryError/Code/addressTooLong`` for more than `sun_path` holds.
  public init(decoding bytes: RawSpan) throws(AncillaryError) {
    guard bytes.byteCount > 0 else {
      self = .unnamed
      return
    }
    guard let family = SocketAddressHeader.family(in: bytes) else {
      throw AncillaryError(.malformedAddress)
    }
    guard family == SocketAddressHeader.unix else {
      throw AncillaryError(.wrongFamily, actual: Int(family), limit: Int(SocketAddressHeader.unix))
    }
    let name = bytes.extracting(SocketAddressHeader.byteCount..<bytes.byteCount).copyToArray()
    guard let first = name.first else {
      self = .unnamed
      return
    }
    if first == 0 {
      try self.init(abstract: Array(name.dropFirst()))
    } else {
      try self.init(pathBytes: Array(name.prefix { $0 != 0 }))
    }
  }
}
