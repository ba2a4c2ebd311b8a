// SPDX-License-Identifier: Apache-2.0
/// The kind of a length-prefixed frame. The raw value is the byte on the wire.
///
/// The highest bit is the direction: whether the frame's number was chosen by its sender (clear) or
/// by its receiver (set). So a late reply is never mistaken for a request, although both ends count
/// from 0.
package enum FrameKind: UInt8, Sendable {
  /// Belongs to no request and has no number.
  case message = 0x00
  /// Asks for exactly one reply or error with this frame's number.
  case request = 0x01
  /// The sender of the request no longer wants a reply.
  case cancel = 0x02
  /// Answers a request.
  case reply = 0x81
  /// Answers a request that failed.
  case error = 0x82

  var hasNumber: Bool { self != .message }
}

/// The header of a length-prefixed payload. All numbers are little-endian.
/// byte 0  length of the payload, 4 bytes
///      4  kind
///      5  number of descriptors
///      6  zero, 2 bytes
///      8  number of the request, 8 bytes; absent for a message
/// ```
package struct FrameHeader: Sendable, Hashable {
  package var length: Int
  package var kind: FrameKind
  package var descriptorCount: Int
  /// The number of the request; zero for a message.
  package var number: UInt64

  package init(length: Int, kind: FrameKind, descriptorCount: Int, number: UInt64) {
    self.length = length
    self.kind = kind
    self.descriptorCount = descriptorCount
    self.number = number
  }

  /// The size of a header without a number, and of one with a number.
  static let shortByteCount = 8
  static let longByteCount = 16

  var byteCount: Int { kind.hasNumber ? Self.longByteCount : Self.shortByteCount }

  /// The encoded header. Only the first 8 bytes are sent for a message.
  var bytes: InlineArray<16, UInt8> {
    var bytes = InlineArray<16, UInt8>(repeating: 0)
    for index in 0..<4 { bytes[index] = UInt8(truncatingIfNeeded: length >> (8 * index)) }
    bytes[4] = kind.rawValue
    bytes[5] = UInt8(truncatingIfNeeded: descriptorCount)
    for index in 0..<8 { bytes[8 + index] = UInt8(truncatingIfNeeded: number >> UInt64(8 * index)) }
    return bytes
  }
}

/// Collects the bytes of a header, which may arrive one by one.
struct HeaderBytes {
  private var bytes = InlineArray<16, UInt8>(repeating: 0)
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  /// Takes bytes from `received` until the header is complete. Returns nil if it is not.
  mutating func read(
    from received: [UInt8], at position: inout Int
  ) throws(FramingError) -> FrameHeader? {
    guard fill(to: FrameHeader.shortByteCount, from: received, at: &position) else { return nil }
    guard let kind = FrameKind(rawValue: bytes[4]) else {
      throw FramingError(.malformedHeader, detail: "kind \(bytes[4])")
    }
    guard bytes[6] == 0, bytes[7] == 0 else {
      throw FramingError(.malformedHeader, detail: "bytes 6 and 7 are not zero")
    }
    if kind.hasNumber {
      guard fill(to: FrameHeader.longByteCount, from: received, at: &position) else { return nil }
    }
    let header = FrameHeader(
      length: Int(integer(at: 0, byteCount: 4)), kind: kind, descriptorCount: Int(bytes[5]),
      number: kind.hasNumber ? integer(at: 8, byteCount: 8) : 0)
    count = 0
    return header
  }

  private mutating func fill(to needed: Int, from received: [UInt8], at position: inout Int) -> Bool
  {
    while count < needed {
      guard position < received.count else { return false }
      bytes[count] = received[position]
      count += 1
      position += 1
    }
    return true
  }

  private func integer(at offset: Int, byteCount: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<byteCount { value |= UInt64(bytes[offset + index]) << UInt64(8 * index) }
    return value
  }
}
