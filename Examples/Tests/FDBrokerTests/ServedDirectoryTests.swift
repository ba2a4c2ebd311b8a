// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

@testable import fd_broker

@Suite struct ServedDirectoryTests {
  static let refusals: [(String, Status)] = [
    ("missing", .notFound), ("missing/file", .notFound), ("file/x", .notFound),
    ("../secret", .outsideRoot), ("sub/../file", .outsideRoot), ("/etc/passwd", .outsideRoot),
    ("escape", .symbolicLink), ("up/secret", .symbolicLink), ("inside", .symbolicLink),
    ("sub", .notAFile), (".", .notAFile), ("", .notAFile), ("fifo", .notAFile),
    ("fi\0le", .malformedRequest), (String(repeating: "x/", count: 5000), .malformedRequest),
  ]

  @Test(arguments: [("file", "the file"), ("sub/file", "the other"), ("./sub//file", "the other")])
  func opensFilesBelowIt(name: String, text: String) throws {
    let sample = try SampleDirectory()
    defer { sample.remove() }
    let file = try ServedDirectory(sample.root).open(name)
    let bytes = try file.read(at: 0, count: 100)
    #expect(String(decoding: bytes, as: UTF8.self) == text)
  }

  @Test(arguments: refusals)
  func refuses(name: String, status: Status) throws {
    let sample = try SampleDirectory()
    defer { sample.remove() }
    let directory = try ServedDirectory(sample.root)
    let refusal = #expect(throws: Status.self) { _ = try directory.open(name) }
    #expect(refusal == status)
  }
}
