// SPDX-License-Identifier: Apache-2.0
/// An IPv6 address. The C name is `struct in6_addr` (ipv6(7)).
public struct IPv6Address: Hashable, Sendable {
  /// The first eight bytes, as a number.
  public let high: UInt64

  /// The last eight bytes, as a number.
  public let low: UInt64

  /// An address from its two halves; the first byte of each is its most significant.
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Any address: `::`. The C name is `in6addr_any`.
  public static var any: IPv6Address { IPv6Address(high: 0, low: 0) }

  /// This host: `::1`. The C name is `in6addr_loopback`.
  public static var loopback: IPv6Address { IPv6Address(high: 0, low: 1) }

  /// An IPv4 address as IPv6 sockets show it: `::ffff:1.2.3.4`.
  public init(mapping address: IPv4Address) {
    self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(address.value))
  }

  /// The IPv4 address in a mapped one; `nil` for all others.
  public var mappedIPv4: IPv4Address? {
    high == 0 && low >> 32 == 0xFFFF ? IPv4Address(UInt32(truncatingIfNeeded: low)) : nil
  }

  /// Reads the 16 bytes at `offset`, which must be in range.
  init(in bytes: RawSpan, at offset: Int) {
    self.init(high: bytes.loadBigEndian(at: offset), low: bytes.loadBigEndian(at: offset + 8))
  }

  @_lifetime(output: copy output)
  func encode(into output: inout OutputRawSpan) {
    output.append(bigEndian: high)
    output.append(bigEndian: low)
  }

  /// One of the eight groups of 16 bits.
  func group(_ index: Int) -> UInt16 {
    UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> UInt64(16 * (3 - index % 4)))
  }
}

extension IPv6Address: LosslessStringConvertible {
  /// The form of RFC 5952: lower case, the longest run of zero groups as `::`, mapped IPv4
  /// addresses with dots.
  public var description: String {
    if let mappedIPv4 { return "::ffff:\(mappedIPv4)" }
    let run = longestZeroRun
    var text = ""
    var index = 0
    while index < 8 {
      if index == run.lowerBound, run.count > 1 {
        text += "::"
        index = run.upperBound
        continue
      }
      if !text.isEmpty, !text.hasSuffix("::") { text += ":" }
      text += String(group(index), radix: 16)
      index += 1
    }
    return text
  }

  private var longestZeroRun: Range<Int> {
    var best = 0..<0
    var start = 0
    for index in 0..<8 {
      if group(index) != 0 {
        start = index + 1
      } else if index + 1 - start > best.count {
        best = start..<index + 1
      }
    }
    return best
  }

  /// Reads any form of RFC 4291: full, shortened, or with an IPv4 address at the end. No scope:
  /// that belongs to ``InternetAddress``.
  public init?(_ description: String) { self.init(parsing: description[...]) }

  init?(parsing text: Substring) {
    var head: [UInt16] = []
    var tail: [UInt16]?
    if let gap = text.firstRange(ofColons: ()) {
      guard let first = Self.groups(text[..<gap.lowerBound], allowsIPv4: false),
        let last = Self.groups(text[gap.upperBound...], allowsIPv4: true)
      else { return nil }
      (head, tail) = (first, last)
    } else {
      guard let all = Self.groups(text, allowsIPv4: true) else { return nil }
      head = all
    }
    let count = head.count + (tail?.count ?? 0)
    guard tail == nil ? count == 8 : count < 8 else { return nil }
    let groups = head + Array(repeating: 0, count: 8 - count) + (tail ?? [])
    self.init(
      high: groups[..<4].reduce(0) { $0 << 16 | UInt64($1) },
      low: groups[4...].reduce(0) { $0 << 16 | UInt64($1) })
  }

  /// Parses groups separated by colons; `nil` if one is malformed. An empty text has no groups.
  private static func groups(_ text: Substring, allowsIPv4: Bool) -> [UInt16]? {
    if text.isEmpty { return [] }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 8 else { return nil }
    var groups: [UInt16] = []
    for (index, part) in parts.enumerated() {
      if allowsIPv4, index == parts.count - 1, part.contains("."),
        let address = IPv4Address(parsing: part)
      {
        groups += [UInt16(address.value >> 16), UInt16(address.value & 0xFFFF)]
        continue
      }
      guard (1...4).contains(part.utf8.count), part.utf8.first != UInt8(ascii: "+"),
        part.utf8.first != UInt8(ascii: "-"),
        let group = UInt16(part, radix: 16)
      else { return nil }
      groups.append(group)
    }
    return groups
  }
}

extension Substring {
  /// The position of the first `::`.
  fileprivate func firstRange(ofColons: Void) -> Range<Index>? {
    var index = startIndex
    while index < endIndex {
      let next = self.index(after: index)
      if self[index] == ":", next < endIndex, self[next] == ":" {
        return index..<self.index(after: next)
      }
      index = next
    }
    return nil
  }
}
