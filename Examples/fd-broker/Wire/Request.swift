// SPDX-License-Identifier: Apache-2.0
/// A client's request: a four-byte number, most significant byte first, and the name of a file
/// relative to the served directory, in UTF-8.
///
/// No length is needed, because a seqpacket socket preserves message boundaries. The reply contains
/// the number.
struct Request: Equatable, Sendable {
  var number: UInt32
  var name: String
}

extension Request {
  var encoded: [UInt8] { number.bigEndianBytes + Array(name.utf8) }

  /// Nil if the bytes are no request.
  init?(decoding bytes: [UInt8]) {
    guard let number = UInt32(bigEndianBytes: bytes.prefix(4)),
      let name = String(validating: bytes.dropFirst(4), as: UTF8.self), !name.isEmpty
    else { return nil }
    self.init(number: number, name: name)
  }
}
