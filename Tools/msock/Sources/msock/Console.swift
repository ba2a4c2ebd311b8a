// SPDX-License-Identifier: Apache-2.0
import Foundation
import SystemPackage

/// Lines for people and for programs. A reader that has gone ends the process by SIGPIPE, as it
/// does with every tool.
enum Console {
  /// To standard output, one line, whatever peers have put into it.
  static func say(_ line: String) throws { try write(Array((line.printable + "\n").utf8)) }

  /// To standard output, as it is.
  static func write(_ bytes: [UInt8]) throws {
    do {
      try FileDescriptor.standardOutput.writeAll(bytes)
    } catch {
      throw Failure(.cannotWrite, "standard output cannot be written: \(error)")
    }
  }

  /// To standard error, which may be closed.
  static func note(_ line: String) {
    _ = try? FileDescriptor.standardError.writeAll(("msock: " + line.printable + "\n").utf8)
  }

  /// A listing for programs, one line.
  static func sayJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    try sayJSON(text: String(decoding: try encoder.encode(value), as: UTF8.self))
  }

  /// JSON that is there already, on one line.
  static func sayJSON(text: String) throws { try write(Array((text.printableJSON + "\n").utf8)) }

  /// Columns, as wide as their widest entry.
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
  /// Without what would move a terminal's cursor or end the line: names of files and texts of peers
  /// may have anything in them.
  var printable: String {
    guard unicodeScalars.contains(where: \.isCommand) else { return self }
    return String(
      String.UnicodeScalarView(
        unicodeScalars.flatMap { scalar in
          scalar.isCommand
            ? Array("\\u{\(String(scalar.value, radix: 16))}".unicodeScalars) : [scalar]
        }))
  }

  /// The same for JSON, whose value stays as it is: `\uXXXX` in strings, and outside of them, where
  /// there are only tabs and ends of lines, spaces.
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
  /// Whether it moves a terminal's cursor, ends a line, or turns the direction of a text.
  fileprivate var isCommand: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }
}
