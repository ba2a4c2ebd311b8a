// SPDX-License-Identifier: Apache-2.0
internal import FoundationEssentials

/// Reads the outer object of a message, and checks that all of it is valid JSON with limited
/// nesting, before any of it reaches a recursive decoder.
///
/// Memory and time are linear in the number of bytes; nothing here is recursive.
struct JSONScanner {
  /// The deepest nesting of objects and arrays. (Foundation's decoder accepts 512.)
  static let maximumDepth = 128

  /// Members of the outer object: the name, and the range of the value.
  typealias Members = [String: Range<Int>]

  private let bytes: ArraySlice<UInt8>
  private var position: Int

  private init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    position = bytes.startIndex
  }

  /// The members of an object, which must fill `bytes` except for white space.
  ///
  /// - Throws: ``VarlinkFailure``: `malformedMessage` (also for a name that occurs twice),
  ///   `nestedTooDeeply`.
  static func members(of bytes: ArraySlice<UInt8>) throws(VarlinkFailure) -> Members {
    var scanner = JSONScanner(bytes)
    let members = try scanner.readObject()
    scanner.skipSpace()
    guard scanner.position == bytes.endIndex else { throw scanner.error("bytes behind the object") }
    return members
  }

  /// The text of a string that has been scanned.
  static func string(in bytes: ArraySlice<UInt8>) throws(VarlinkFailure) -> String {
    let text = bytes.dropFirst().dropLast()
    guard bytes.count >= 2, bytes.first == UInt8(ascii: "\"") else {
      throw VarlinkFailure(.malformedMessage, detail: "a string was expected")
    }
    if text.contains(UInt8(ascii: "\\")) {
      do { return try JSONDecoder().decode(String.self, from: Data(bytes)) } catch {
        throw VarlinkFailure(.malformedMessage, detail: "a broken string")
      }
    }
    guard let string = String(validating: text, as: UTF8.self) else {
      throw VarlinkFailure(.malformedMessage, detail: "a string that is not UTF-8")
    }
    return string
  }

  private mutating func readObject() throws(VarlinkFailure) -> Members {
    var members: Members = [:]
    try expect("{")
    if consume("}") { return members }
    repeat {
      skipSpace()
      let start = position
      try skipString()
      let name = try Self.string(in: bytes[start..<position])
      try expect(":")
      skipSpace()
      let valueStart = position
      try skipValue()
      guard members.updateValue(valueStart..<position, forKey: name) == nil else {
        throw error("a member that occurs twice")
      }
    } while consume(",")
    try expect("}")
    return members
  }

  /// The tokens that may come next inside a value.
  private enum Expected {
    case value, valueOrEnd, name, nameOrEnd, separator
  }

  /// Skips one value that is nested no deeper than the limit; one level is already around it.
  private mutating func skipValue() throws(VarlinkFailure) {
    /// For each open container from the outermost, whether it is an object.
    var objects: [Bool] = []
    var expected = Expected.value
    repeat {
      skipSpace()
      switch expected {
      case .valueOrEnd where consume("]"), .nameOrEnd where consume("}"):
        objects.removeLast()
        expected = .separator
      case .value, .valueOrEnd:
        expected = try skipStart(opening: &objects)
      case .name, .nameOrEnd:
        try skipString()
        try expect(":")
        expected = .value
      case .separator:
        let isObject = objects[objects.count - 1]
        if consume(",") {
          expected = isObject ? .name : .value
        } else {
          try expect(isObject ? "}" : "]")
          objects.removeLast()
        }
      }
    } while !(objects.isEmpty && expected == .separator)
  }

  /// Skips a scalar, or enters a container.
  private mutating func skipStart(opening objects: inout [Bool]) throws(VarlinkFailure) -> Expected
  {
    switch peek {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      let isObject = peek == UInt8(ascii: "{")
      guard objects.count + 1 < Self.maximumDepth else { throw VarlinkFailure(.nestedTooDeeply) }
      position += 1
      objects.append(isObject)
      return isObject ? .nameOrEnd : .valueOrEnd
    case UInt8(ascii: "\""): try skipString()
    case UInt8(ascii: "t"): try skipWord("true")
    case UInt8(ascii: "f"): try skipWord("false")
    case UInt8(ascii: "n"): try skipWord("null")
    default: try skipNumber()
    }
    return .separator
  }

  private mutating func skipString() throws(VarlinkFailure) {
    guard peek == UInt8(ascii: "\"") else { throw error("a string was expected") }
    position += 1
    while let byte = peek {
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return
      case UInt8(ascii: "\\"): try skipEscape()
      case 0..<0x20: throw error("a control character in a string")
      default: break
      }
    }
    throw error("a string without an end")
  }

  private mutating func skipEscape() throws(VarlinkFailure) {
    guard let byte = peek else { throw error("an escape without an end") }
    position += 1
    if byte == UInt8(ascii: "u") {
      for _ in 0..<4 {
        guard let digit = peek,
          UInt8(ascii: "0")...UInt8(ascii: "9") ~= digit || 0x61...0x66 ~= digit | 0x20
        else { throw error("a broken escape") }
        position += 1
      }
    } else if !"\"\\/bfnrt".utf8.contains(byte) {
      throw error("an unknown escape")
    }
  }

  private mutating func skipNumber() throws(VarlinkFailure) {
    if peek == UInt8(ascii: "-") { position += 1 }
    if peek == UInt8(ascii: "0") { position += 1 } else { try skipDigits() }
    if peek == UInt8(ascii: ".") {
      position += 1
      try skipDigits()
    }
    if let byte = peek, byte | 0x20 == UInt8(ascii: "e") {
      position += 1
      if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { position += 1 }
      try skipDigits()
    }
  }

  private mutating func skipDigits() throws(VarlinkFailure) {
    let start = position
    while let byte = peek, UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte { position += 1 }
    if position == start { throw error("a value was expected") }
  }

  private mutating func skipWord(_ word: StaticString) throws(VarlinkFailure) {
    let count = word.utf8CodeUnitCount
    let isThere = bytes[position...].prefix(count).elementsEqual(word.description.utf8)
    guard isThere else { throw error("an unknown word") }
    position += count
  }

  private var peek: UInt8? { position < bytes.endIndex ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      position += 1
    }
  }

  private mutating func consume(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard peek == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private mutating func expect(_ character: Unicode.Scalar) throws(VarlinkFailure) {
    guard consume(character) else { throw error("\(character) was expected") }
  }

  private func error(_ detail: String) -> VarlinkFailure {
    VarlinkFailure(.malformedMessage, detail: "\(detail), at byte \(position - bytes.startIndex)")
  }
}
