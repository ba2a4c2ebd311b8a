// SPDX-License-Identifier: Apache-2.0
/// The bytes that libFuzzer has chosen, read from the front as decisions. After the last byte,
/// every decision is 0.
///
/// `@unchecked Sendable`: read by one thread at a time.
final class Input: @unchecked Sendable {
  private var rest: ArraySlice<UInt8>

  init(_ start: UnsafePointer<UInt8>?, _ count: Int) {
    rest = Array(UnsafeBufferPointer(start: start, count: count))[...]
  }

  var isEmpty: Bool { rest.isEmpty }

  func byte() -> UInt8 { rest.popFirst() ?? 0 }

  func number(_ range: ClosedRange<Int>) -> Int {
    let value = range.count <= 256 ? Int(byte()) : Int(byte()) << 8 | Int(byte())
    return range.lowerBound + value % range.count
  }

  func oneIn(_ count: Int) -> Bool { number(0...count - 1) == 1 }

  func choose<T>(_ values: [T]) -> T { values[number(0...values.count - 1)] }

  func take(_ count: Int) -> [UInt8] {
    defer { rest = rest.dropFirst(count) }
    return Array(rest.prefix(count)) + Array(repeating: 0, count: max(0, count - rest.count))
  }
}
