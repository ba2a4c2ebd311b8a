// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Testing

/// Names that a peer may choose to falsify our log.
@Suite struct VisibleTextTests {
  /// Every 8-bit character, and all characters that turn, break or hide text.
  static let characters: [Unicode.Scalar] = {
    let ranges: [ClosedRange<UInt32>] = [
      0...0xFF, 0x061C...0x061C, 0x115F...0x115F, 0x180E...0x180E, 0x200B...0x200F, 0x2028...0x202E,
      0x2060...0x206F,
      0xE000...0xE001, 0xFEFF...0xFEFF, 0xFFF9...0xFFFB, 0xE0001...0xE0020, 0x10FFFF...0x10FFFF,
    ]
    return ranges.joined().map { Unicode.Scalar($0)! }
  }()

  private func isHarmless(_ text: String) -> Bool {
    text.unicodeScalars.allSatisfy { scalar in
      switch scalar.value {
      case 0...0x1F, 0x7F...0x9F, 0x061C, 0x200B...0x200F, 0x2028...0x202E, 0x2060...0x206F, 0xFEFF:
        false
      default: true
      }
    }
  }

  @Test(arguments: characters) func noCharacterOfAPeersGetsIntoALogUnseen(_ scalar: Unicode.Scalar)
    throws
  {
    let name = Array("a\(Character(scalar))b".utf8)
    var texts = [
      "\(try UnixAddress(abstract: name))", "\(AnySocketAddress(try UnixAddress(abstract: name)))",
    ]
    if scalar.value != 0 {
      texts.append("\(try UnixAddress(pathBytes: name))")
      texts.append(String(reflecting: try UnixAddress(pathBytes: name)))
    }
    texts.append("\(SecurityLabel(bytes: name))")
    texts.append(String(reflecting: SecurityLabel(bytes: name)))
    texts.append(
      "\(DescriptorFacts(kind: .kernelObject(String(decoding: name, as: UTF8.self)), access: .read))"
    )
    for text in texts { #expect(isHarmless(text), "\(text.unicodeScalars.map(\.value))") }
    let address = try UnixAddress(abstract: name)
    #expect(UnixAddress(address.description) == address)
  }

  @Test(arguments: 0...255 as ClosedRange<UInt8>) func noByteGetsIntoALogUnseen(_ byte: UInt8)
    throws
  {
    // Invalid UTF-8: an 8-bit terminal would interpret 0x9B as the start of a command.
    for name in [[byte], [byte, 0xFF], [0xC3, byte], [0xE2, 0x80, byte]] as [[UInt8]] {
      let address = try UnixAddress(abstract: name)
      #expect(isHarmless("\(address)"))
      #expect(!"\(address)".contains("\u{FFFD}"))
      #expect(UnixAddress(address.description) == address)
      #expect(isHarmless("\(SecurityLabel(bytes: name))"))
    }
  }

  @Test func ordinaryTextStaysAsItIs() throws {
    for name in ["grün", "日本語", "naïve café", "Ωμέγα", "שלום", "🙂"] {
      #expect("\(try UnixAddress(abstract: name))" == "@" + name)
    }
  }
}
