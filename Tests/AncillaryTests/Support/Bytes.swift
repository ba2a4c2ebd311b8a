// SPDX-License-Identifier: Apache-2.0
import Ancillary

/// Control messages as bytes, written by hand; lengths may be wrong.
struct RawControl {
  var bytes: [UInt8] = []

  mutating func add(
    level: Int32, type: Int32, payload: [UInt8], statedLength: UInt? = nil, padded: Bool = true
  ) {
    append(statedLength ?? UInt(16 + payload.count))
    append(level)
    append(type)
    bytes += payload
    if padded { while bytes.count % 8 != 0 { bytes.append(0xEE) } }
  }

  mutating func addRights(_ numbers: [Int32]) {
    add(level: 1, type: 1, payload: numbers.flatMap(littleEndian))
  }

  private mutating func append(_ value: some FixedWidthInteger) { bytes += littleEndian(value) }
}

/// The little-endian bytes of an integer.
func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  var bytes: [UInt8] = []
  var rest = value
  for _ in 0..<(type(of: value).bitWidth / 8) {
    bytes.append(UInt8(truncatingIfNeeded: rest))
    rest >>= 8
  }
  return bytes
}

/// Passes an array's bytes to `body`, borrowed.
func withSpan<R, E: Error>(_ bytes: [UInt8], _ body: (RawSpan) throws(E) -> R) throws(E) -> R {
  try body(unsafe bytes.span.bytes)
}

extension RawSpan {
  var array: [UInt8] { unsafe withUnsafeBytes { unsafe Array($0) } }
}

/// A deterministic source of random numbers (SplitMix64), so that a failure can be repeated.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
