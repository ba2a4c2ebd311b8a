// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage
import Testing

@Suite struct UnitFileTests {
  /// The article contains the example's unit.
  @Test func theExample() throws {
    let example = try text("Examples/hot-restart/hot-restart.service")
    #expect(try article("ReplaceARunningServer").contains("```ini\n\(example)```"))
  }
}

@Suite(.enabled(if: ForeignPeer.systemdAnalyze.isAvailable, "systemd-analyze is not installed"))
struct UnitFileInterop {
  /// systemd accepts each line of the articles' units.
  @Test(arguments: [("app", "RunUnderSystemd"), ("hot-restart", "ReplaceARunningServer")])
  func theUnits(name: String, page: String) throws {
    let units = try article(page).split(separator: "```ini\n").dropFirst().map {
      String($0.prefix { $0 != "`" })
    }
    let socket = units.count == 2 ? units[0] : try text("Examples/hot-restart/hot-restart.socket")
    try verify(name, socket: socket, service: try #require(units.last))
  }

  private func verify(_ name: String, socket: String, service: String) throws {
    var template = Array("/tmp/service-units-XXXXXX".utf8CString)
    #expect(template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil })
    let directory = String(
      decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let paths = ["\(directory)/\(name).socket", "\(directory)/\(name).service"]
    defer {
      for path in paths { unlink(path) }
      rmdir(directory)
    }
    // With a program that exists.
    for (path, text) in zip(
      paths, [socket, service.replacing("/usr/local/bin/\(name)", with: "/bin/true")])
    {
      let file = try FileDescriptor.open(
        FilePath(path), .writeOnly, options: [.create, .closeOnExec], permissions: .ownerReadWrite)
      try file.closeAfter { _ = try file.writeAll(text.utf8) }
    }
    let process = try ChildProcess(["systemd-analyze", "verify", "--man=no"] + paths)
    #expect(process.exitStatus() == 0, "\(name)")
  }
}

private func article(_ name: String) throws -> String {
  try text("Sources/ServiceManagement/Documentation.docc/\(name).md")
}

private func text(_ path: String) throws -> String {
  let root = FilePath(#filePath).removingLastComponent().removingLastComponent()
    .removingLastComponent()
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
