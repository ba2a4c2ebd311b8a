// SPDX-License-Identifier: Apache-2.0
// Text that a peer may have chosen, prepared for a log. It must stay on one line and must not
// imitate another line. So control characters of 7 and 8 bits, line and paragraph separators,
// direction marks and everything invisible are written as their bytes, `\xNN`.

extension String {
  /// The bytes as text. Invisible characters and the byte `extra` are written as `\xNN`, and so are
  /// all non-ASCII bytes unless the whole is valid UTF-8.
  package init(visible bytes: [UInt8], escaping extra: UInt8? = nil) {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      var text = ""
      for byte in bytes {
        text +=
          byte >= 0x20 && byte < 0x7F && byte != extra
          ? String(Unicode.Scalar(byte)) : Self.escaped(byte)
      }
      self = text
      return
    }
    self = text.visible(escaping: extra)
  }

  /// The text with the bytes of invisible characters as `\xNN`. Idempotent.
  package var visible: String { visible(escaping: nil) }

  private func visible(escaping extra: UInt8?) -> String {
    // Almost always there is nothing to escape.
    if utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F && $0 != extra }) { return self }
    var text = ""
    for scalar in unicodeScalars {
      if scalar.isSeen, extra.map({ UInt32($0) != scalar.value }) ?? true {
        text.unicodeScalars.append(scalar)
      } else {
        for byte in UTF8.encode(scalar)! { text += Self.escaped(byte) }
      }
    }
    return text
  }

  /// A byte as `\xNN`.
  static func escaped(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return "\\x" + (digits.count == 1 ? "0" : "") + digits
  }
}

extension Unicode.Scalar {
  fileprivate var isSeen: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse,
      .unassigned:
      false
    default: !properties.isDefaultIgnorableCodePoint
    }
  }
}
