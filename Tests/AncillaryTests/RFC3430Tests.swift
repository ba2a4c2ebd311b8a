// SPDX-License-Identifier: Apache-2.0
import SystemPackage
import Testing

/// Docs/RFC3430.md is a checklist: it has no empty cell, and every test that it names exists.
@Suite struct RFC3430Tests {
  static let root = FilePath(#filePath).removingLastComponent().removingLastComponent()
    .removingLastComponent()

  static func text(_ path: FilePath) throws -> String {
    let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    return try file.closeAfter {
      var text: [UInt8] = []
      var piece = [UInt8](repeating: 0, count: 65536)
      while true {
        let count = try unsafe piece.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        if count == 0 { return String(decoding: text, as: UTF8.self) }
        text += piece[..<count]
      }
    }
  }

  static func rows() throws -> [[Substring]] {
    try text(root.appending("Docs/RFC3430.md")).split(separator: "\n").filter {
      $0.hasPrefix("|") && !$0.hasPrefix("| ---")
    }
    .filter { !$0.hasPrefix("| RFC |") }
    .map { row in row.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false)
    }
  }

  @Test func everyCellIsFilled() throws {
    let rows = try Self.rows()
    #expect(rows.count > 100)
    for row in rows {
      #expect(row.count == 4, "\(row)")
      #expect(row.allSatisfy { $0.contains { $0 != " " } }, "\(row)")
    }
  }

  /// The suites in the table, with their files.
  static let files = [
    "WalkerTests": "ControlMessages/WalkerTests", "BuildingTests": "ControlMessages/BuildingTests",
    "FormTests": "AncillaryData/FormTests",
    "AncillaryDataTests": "AncillaryData/AncillaryDataTests",
    "OwnedFdsTests": "Descriptors/OwnedFdsTests", "AdoptionTests": "Descriptors/AdoptionTests",
    "BlockingTests": "Blocking/BlockingTests", "IdentityTests": "Blocking/IdentityTests",
    "InternetTests": "Blocking/InternetTests", "PacketTests": "Blocking/PacketTests",
    "OptionsTests": "Options/OptionsTests",
    "KindTests": "Kinds/KindTests",
    "CredentialsTests": "Kinds/CredentialsTests", "UnixAddressTests": "Addresses/UnixAddressTests",
  ]

  @Test func everyNamedTestExists() throws {
    let sources = try Self.files.mapValues {
      try Self.text(Self.root.appending("Tests/AncillaryTests/\($0).swift"))
    }
    for row in try Self.rows() {
      let name = row[2].filter { $0 != "`" && $0 != " " }.split(separator: ".")
      let source = try #require(sources[String(name[0])], "\(row)")
      #expect(source.contains("func \(name[1])("), "\(row)")
    }
  }
}
