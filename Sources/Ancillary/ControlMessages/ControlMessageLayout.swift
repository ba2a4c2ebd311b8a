// SPDX-License-Identifier: Apache-2.0
/// How `struct cmsghdr` lies in memory: the length, in bytes with the header (`size_t` on Linux,
/// `socklen_t` on the BSDs), then level and type (`int`), then the payload at the next aligned
/// offset.
///
/// Checked against the C macros for every payload length up to 2048 in the tests. The BSD variants
/// have been compiled, not run.
enum ControlMessageLayout {
  /// `SOL_SOCKET`.
  #if os(Linux) || os(Android)
    static var socketLevel: Int32 { 1 }
  #else
    static var socketLevel: Int32 { 0xFFFF }
  #endif

  #if os(Linux) || os(Android)
    typealias Length = UInt
    static var alignment: Int { MemoryLayout<UInt>.size }
  #elseif canImport(Darwin)
    typealias Length = UInt32
    static var alignment: Int { 4 }
  #else
    typealias Length = UInt32
    static var alignment: Int { MemoryLayout<UInt>.size }
  #endif

  static var levelOffset: Int { MemoryLayout<Length>.size }
  static var typeOffset: Int { levelOffset + 4 }

  /// The header's own bytes, without the padding that may follow (`sizeof (struct cmsghdr)`).
  static var rawHeaderSize: Int { typeOffset + 4 }

  /// Where the payload starts: `CMSG_LEN(0)`.
  static var headerSize: Int { align(rawHeaderSize) }

  @inline(__always)
  static func align(_ length: Int) -> Int { (length + alignment - 1) & ~(alignment - 1) }
}
