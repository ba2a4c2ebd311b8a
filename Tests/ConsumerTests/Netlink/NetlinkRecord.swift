// SPDX-License-Identifier: Apache-2.0
/// A record of a netlink message, or an attribute of one: a length, a type and a body, padded to a
/// multiple of four bytes.
struct NetlinkRecord {
  static let done: UInt16 = 3
  static let newLink: UInt16 = 16
  static let getLink: UInt16 = 18
  /// `NLM_F_REQUEST | NLM_F_DUMP`.
  static let dumpRequest: UInt32 = 0x301

  var type: UInt16
  var body: ArraySlice<UInt8>

  /// Records with a header of 16 bytes (`struct nlmsghdr`).
  static func all(in bytes: [UInt8]) -> [NetlinkRecord] {
    split(bytes[...], header: 16) {
      NetlinkRecord(type: UInt16(truncatingIfNeeded: $0.integer(at: 4)), body: $1)
    } length: {
      Int($0.integer(at: 0))
    }
  }

  /// Attributes with a header of 4 bytes (`struct rtattr`).
  static func attributes(in bytes: ArraySlice<UInt8>) -> [NetlinkRecord] {
    split(bytes, header: 4) {
      NetlinkRecord(type: UInt16($0.integer(at: 0) >> 16), body: $1)
    } length: {
      Int($0.integer(at: 0) & 0xFFFF)
    }
  }

  private static func split(
    _ bytes: ArraySlice<UInt8>, header: Int,
    make: (ArraySlice<UInt8>, ArraySlice<UInt8>) -> NetlinkRecord,
    length: (ArraySlice<UInt8>) -> Int
  ) -> [NetlinkRecord] {
    var rest = bytes
    var records: [NetlinkRecord] = []
    while rest.count >= header, case let length = length(rest), length >= header,
      length <= rest.count
    {
      records.append(make(rest, rest.prefix(length).dropFirst(header)))
      rest = rest.dropFirst((length + 3) & ~3)
    }
    return records
  }
}

extension ArraySlice<UInt8> {
  /// Reads four bytes in native byte order; `offset` counts from the start of the slice.
  func integer(at offset: Int) -> UInt32 {
    withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
  }
}
