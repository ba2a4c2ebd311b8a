// SPDX-License-Identifier: Apache-2.0
/// Control bytes from libFuzzer: raw bytes, or nearly correct records, which mutation alone hardly
/// ever finds.
enum HostileControl {
  static func bytes(_ input: Input, room: Int) -> [UInt8] {
    switch input.number(0...3) {
    case 0: return []
    case 1: return input.take(input.number(0...room))
    default:
      var bytes: [UInt8] = []
      for _ in 0..<input.number(1...4) { bytes += record(input) }
      return Array(bytes.prefix(input.oneIn(4) ? input.number(0...room) : room))
    }
  }

  private static func record(_ input: Input) -> [UInt8] {
    // Rights, process descriptor, credentials, label, timestamp, SCM_INQ; IP_RECVERR, IPV6_RECVERR;
    // another one.
    let kinds: [(Int32, Int32)] = [
      (1, 1), (1, 1), (1, 4), (1, 2), (1, 3), (1, 35), (1, 84), (0, 11), (41, 25), (0, 8),
    ]
    let choice = input.number(0...kinds.count)
    let kind = choice < kinds.count ? kinds[choice] : (Int32(input.byte()), Int32(input.byte()))
    let data = kind == (1, 1) || kind == (1, 4) ? slots(input) : input.take(input.number(0...48))
    var stated = UInt64(16 + data.count)
    // A length that is slightly wrong, or nonsense.
    if input.oneIn(8) { stated &+= UInt64(bitPattern: Int64(Int8(bitPattern: input.byte()))) }
    if input.oneIn(16) {
      stated = input.take(8).withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
    }
    let padding = Array(repeating: UInt8(0), count: (8 - data.count % 8) % 8)
    return Self.bytes(of: stated) + Self.bytes(of: kind.0) + Self.bytes(of: kind.1) + data + padding
  }

  /// The slots. One in eight is an errno, or a negative number that is no errno.
  private static func slots(_ input: Input) -> [UInt8] {
    let count = input.oneIn(8) ? input.number(0...70) : input.number(0...6)
    let slots = (0..<count).map { _ in input.oneIn(8) ? -Int32(input.number(1...5000)) : 0 }
    return slots.flatMap { bytes(of: $0) } + (input.oneIn(8) ? [1, 2] : [])
  }

  private static func bytes(of value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value) { Array($0) }
  }
}
