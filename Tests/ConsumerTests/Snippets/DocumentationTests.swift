// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage
import Testing

/// The code in the documentation is the code compiled in this folder.
///
/// Each file here named `…Snippets.swift` has lines between `// begin PAGE` and `// end`. These
/// appear, word for word, in a `swift` code block of PAGE.md, in the catalogue that contains this
/// page.
@Suite struct DocumentationTests {
  private static let root = FilePath(#filePath).removingLastComponent().removingLastComponent()
    .removingLastComponent().removingLastComponent()

  @Test func pagesShowWhatIsCompiledHere() throws {
    let pages = try Self.pages()
    var count = 0
    for file in Self.names(in: "Tests/ConsumerTests/Snippets")
    where file.hasSuffix("Snippets.swift") {
      let snippets = try Self.snippets(in: "Tests/ConsumerTests/Snippets/\(file)")
      #expect(!snippets.isEmpty, "\(file) has no snippet")
      for (page, code) in snippets {
        let text = try #require(pages[page], "\(file) names \(page).md, which is in no catalogue")
        #expect(text.contains("```swift\n\(code)\n```"), "\(page).md does not show:\n\(code)")
        count += 1
      }
    }
    #expect(count >= 7)
  }

  /// All pages of all catalogues, by name.
  private static func pages() throws -> [String: String] {
    var pages: [String: String] = [:]
    for module in Self.names(in: "Sources") {
      for catalogue in Self.names(in: "Sources/\(module)") where catalogue.hasSuffix(".docc") {
        for page in Self.names(in: "Sources/\(module)/\(catalogue)") where page.hasSuffix(".md") {
          pages[String(page.dropLast(3))] = try text(of: "Sources/\(module)/\(catalogue)/\(page)")
        }
      }
    }
    return pages
  }

  /// Each page's lines between the marks, without the indentation of the first line.
  private static func snippets(in file: String) throws -> [(page: String, code: String)] {
    var snippets: [(page: String, code: String)] = []
    var page: String?
    var lines: [Substring] = []
    for line in try text(of: file).split(separator: "\n", omittingEmptySubsequences: false) {
      let words = line.drop { $0 == " " }
      if words.hasPrefix("// begin ") {
        page = String(words.dropFirst("// begin ".count))
        lines = []
      } else if words == "// end", let name = page {
        let indentation = lines.first?.prefix { $0 == " " }.count ?? 0
        let code = lines.map { $0.dropFirst(indentation) }.joined(separator: "\n")
        snippets.append((name, code))
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
      {
        text += piece[..<count]
      }
      return String(decoding: text, as: UTF8.self)
    }
  }

  /// The names in a directory; empty if it is no directory.
  private static func names(in directory: String) -> [String] {
    guard let stream = opendir(root.pushing(FilePath(directory)).string) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    return names.filter { !$0.hasPrefix(".") }.sorted()
  }
}
