// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The start of every `struct sockaddr`: the family in 16 bits on Linux; the length and then the
/// family, in 8 bits each, on the BSDs.
enum SocketAddressHeader {
  static var byteCount: Int { 2 }

  static var unix: Int32 { AF_UNIX }
  static var internetV4: Int32 { AF_INET }
  static var internetV6: Int32 { AF_INET6 }

  /// The family of the address in `bytes`; `nil` when there are fewer than two bytes.
  static func family(in bytes: RawSpan) -> Int32? {
    guard bytes.byteCount >= byteCount else { return nil }
    #if os(Linux) || os(Android)
      return Int32(bytes.load(UInt16.self, at: 0))
    #else
      return Int32(bytes.load(UInt8.self, at: 1))
    #endif
  }

  /// Appends the header of an address of `total` bytes.
  @_lifetime(output: copy output)
  static func append(family: Int32, total: Int, to output: inout OutputRawSpan) {
    #if os(Linux) || os(Android)
      output.append(integer: UInt16(family))
    #else
      output.append(UInt8(total))
      output.append(UInt8(family))
    #endif
  }
}

/// An address that can be written to, and read from, the bytes that the socket calls take
/// (`struct sockaddr`).
///
/// Third parties conform their own families (netlink, packet …), and can then use them with
/// ``AddressedMessageSending``.
public protocol SocketAddress: Sendable {
  /// The length of the encoded address, which is what bind(2), connect(2) and `msg_namelen` take.
  var encodedByteCount: Int { get }

  /// Appends exactly ``encodedByteCount`` bytes. Traps when they do not fit;
  /// ``SocketAddress/maximumByteCount`` always suffices.
  @_lifetime(output: copy output)
  func encode(into output: inout OutputRawSpan)

  /// Reads an address as the system returned it, with the length that the system returned.
  ///
  /// - Throws: ``AncillaryError/Code/wrongFamily``, ``AncillaryError/Code/malformedAddress`` or
  ///   ``AncillaryError/Code/addressTooLong``.
  init(decoding bytes: RawSpan) throws(AncillaryError)
}

extension SocketAddress {
  /// Room for every family (`sizeof (struct sockaddr_storage)`).
  public static var maximumByteCount: Int { 128 }

  /// Lends the encoded address to `body`, for a system call of your own.
  ///
  /// - Throws: what `body` throws.
  public func withSocketAddressBytes<R: ~Copyable, E: Error>(_ body: (RawSpan) throws(E) -> R)
    throws(E) -> R
  {
    var storage = InlineArray<128, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    let count = encodedByteCount
    // SAFETY: the storage outlives the closure; the output span ends before the bytes are read.
    unsafe span.withUnsafeMutableBytes { bytes in
      var output = unsafe OutputRawSpan(buffer: bytes, initializedCount: 0)
      encode(into: &output)
      precondition(output.byteCount == count, "an address wrote another length than it announced")
    }
    // SAFETY: every byte is initialized.
    return try body(unsafe storage.span.bytes.extracting(first: count))
  }
}
