// SPDX-License-Identifier: Apache-2.0
import Foundation
import SystemPackage

/// Lines for people and for programs. If the reader has gone, SIGPIPE ends the process, as it does
/// with every tool.
enum Console {
  /// Writes one line to standard output, whatever characters peers have put into it.
  static func say(_ line: String) throws { try write(Array((line.printable + "\n").utf8)) }

  /// Writes bytes to standard output unchanged.
  static func write(_ bytes: [UInt8]) throws {
    do {
      try FileDescriptor.standardOutput.writeAll(bytes)
    } catch {
      throw Failure(.cannotWrite, "standard output cannot be written: \(error)")
    }
  }

  /// Writes a line to standard error, which may be closed.
  static func note(_ line: String) {
    _ = try? FileDescriptor.standardError.writeAll(("msock: " + line.printable + "\n").utf8)
  }

  /// Writes a listing for programs, in one line.
  static func sayJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    try sayJSON(text: String(decoding: try encoder.encode(value), as: UTF8.self))
  }

  /// Writes existing JSON in one line.
  static func sayJSON(text: String) throws { try write(Array((text.printableJSON + "\n").utf8)) }

  /// Writes columns that are as wide as their widest entry.
  static func sayTable(_ rows: [[String]]) throws {
    let rows = rows.map { $0.map(\.printable) }
    let widths = (0..<(rows.first?.count ?? 0)).map { column in
      rows.map { $0[column].count }.max() ?? 0
    }
    for row in rows {
      let cells = zip(row, widths).map { cell, width in
        cell + String(repeating: " ", count: width - cell.count)
      }
      try say(String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed()))
    }
  }
}

extension String {
  /// The text without characters that move a terminal's cursor or end the line: file names and
  /// texts from peers may contain anything.
  var printable: String {
    guard unicodeScalars.contains(where: \.isCommand) else { return self }
    return String(
      String.UnicodeScalarView(
        unicodeScalars.flatMap { scalar in
          scalar.isCommand
            ? Array("\\u{\(String(scalar.value, radix: 16))}".unicodeScalars) : [scalar]
        }))
  }

  /// The JSON without such characters and with an unchanged value: `\uXXXX` in strings, and outside
  /// strings, where there are only tabs and line ends, spaces.
  var printableJSON: String {
    guard unicodeScalars.contains(where: \.isCommand) else { return self }
    return String(
      String.UnicodeScalarView(
        unicodeScalars.flatMap { scalar -> [Unicode.Scalar] in
          guard scalar.isCommand else { return [scalar] }
          if ["\t", "\n", "\r"].contains(scalar) { return [" "] }
          return UTF16.encode(scalar)!.flatMap { unit in
            let digits = String(unit, radix: 16)
            return Array(
              ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).unicodeScalars)
          }
        }))
  }
}

extension Unicode.Scalar {
  /// Whether the character moves a terminal's cursor, ends a line, or changes the direction of
  /// text.
  fileprivate var isCommand: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }
}
