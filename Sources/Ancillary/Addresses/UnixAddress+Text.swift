// SPDX-License-Identifier: Apache-2.0
extension UnixAddress: LosslessStringConvertible, CustomDebugStringConvertible {
  /// The text form: `/run/app.sock`, `@abstract`, `*`. Safe in a log, whatever a peer has put
  /// there: control characters, line separators, marks of direction and others that would not be
  /// seen are written as their bytes, `\x1b`.
  public var description: String {
    switch kind {
    case .unnamed: "*"
    case .abstract: "@" + Self.escape(nameBytes)
    case .path: Self.escapeFirst(of: Self.escape(nameBytes))
    }
  }

  /// The text form, with the name of the type.
  public var debugDescription: String { "UnixAddress(\(description))" }

  /// Reads the text form; `nil` when it is empty, too long, or has a broken escape.
  public init?(_ description: String) {
    if description == "*" {
      self = .unnamed
      return
    }
    let isAbstract = description.utf8.first == UInt8(ascii: "@")
    guard let bytes = Self.unescape(description.utf8.dropFirst(isAbstract ? 1 : 0)) else {
      return nil
    }
    do throws(AncillaryError) {
      self = isAbstract ? try UnixAddress(abstract: bytes) : try UnixAddress(pathBytes: bytes)
    } catch { return nil }
  }

  /// Writes the backslash and invisible bytes as `\xNN`; see `String.init(visible:escaping:)`.
  private static func escape(_ bytes: [UInt8]) -> String {
    String(visible: bytes, escaping: UInt8(ascii: "\\"))
  }

  /// Escapes the start of a path that would be mistaken for one of the other two forms.
  private static func escapeFirst(of text: String) -> String {
    guard let first = text.utf8.first, text == "*" || first == UInt8(ascii: "@") else {
      return text
    }
    return String.escaped(first) + text.dropFirst()
  }

  private static func unescape(_ text: Substring.UTF8View) -> [UInt8]? {
    var bytes: [UInt8] = []
    var rest = text[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "\\") else {
        bytes.append(byte)
        continue
      }
      guard rest.popFirst() == UInt8(ascii: "x"), let high = hexadecimalDigit(rest.popFirst()),
        let low = hexadecimalDigit(rest.popFirst())
      else { return nil }
      bytes.append(high << 4 | low)
    }
    return bytes
  }

  /// Parses one digit. (An integer's own parser accepts signs.)
  private static func hexadecimalDigit(_ character: UInt8?) -> UInt8? {
    switch character {
    case let digit? where (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit):
      digit - UInt8(ascii: "0")
    case let letter? where (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(letter | 0x20):
      (letter | 0x20) - UInt8(ascii: "a") + 10
    default: nil
    }
  }
}
