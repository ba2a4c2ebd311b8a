// SPDX-License-Identifier: Apache-2.0
import SystemPackage
import Testing

@Suite struct DocumentationTests {
  private static let root = FilePath(#filePath).removingLastComponent().removingLastComponent()
    .removingLastComponent()
    .removingLastComponent()

  @Test func pagesShowWhatIsCompiledHere() throws {
    let snippets = try Self.snippets()
    #expect(snippets.count == 7)
    for (page, code) in snippets {
      let text = try Self.text(of: "Sources/MessageSockets/Documentation.docc/\(page).md")
      #expect(text.contains("```swift\n\(code)\n```"), "\(page).md does not show:\n\(code)")
    }
  }

  /// What stands between the marks, by page, without the indentation of its first line.
  private static func snippets() throws -> [String: String] {
    var snippets: [String: String] = [:]
    var page: String?
    var lines: [Substring] = []
    for line in try text(of: "Tests/ConsumerTests/Snippets/SocketSnippets.swift").split(
      separator: "\n", omittingEmptySubsequences: false)
    {
      let words = line.drop { $0 == " " }
      if words.hasPrefix("// begin ") {
        page = String(words.dropFirst("// begin ".count))
        lines = []
      } else if words == "// end", let name = page {
        let indentation = lines.first?.prefix { $0 == " " }.count ?? 0
        snippets[name] = lines.map { $0.dropFirst(indentation) }.joined(separator: "\n")
        page = nil
      } else {
        lines.append(line)
      }
    }
    return snippets
  }

  private static func text(of path: String) throws -> String {
    let file = try FileDescriptor.open(
      root.pushing(FilePath(path)), .readOnly, options: .closeOnExec)
    return try file.closeAfter {
      var text: [UInt8] = []
      var piece = [UInt8](repeating: 0, count: 65536)
      while case let count = try piece.withUnsafeMutableBytes({ try file.read(into: $0) }),
        count > 0
      { text += piece[..<count] }
      return String(decoding: text, as: UTF8.self)
    }
  }
}
