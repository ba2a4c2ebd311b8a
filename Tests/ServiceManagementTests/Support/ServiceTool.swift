// SPDX-License-Identifier: Apache-2.0
import CAllocationCounter
import CTestDescriptors
import Glibc
import MessageSockets
import ServiceManagement
import SystemPackage
import Testing

/// The factor by which everything may take longer. A sanitizer, which replaces malloc, makes
/// processes slow to start and to answer.
let slowness = cac_allocations() < 0 ? 10 : 1

/// The program in the tests' directory.
enum ServiceTool {
  static let path = ChildProcess.directory + "/ServiceTool"

  static func command(_ arguments: [String], _ variables: [String: String] = [:]) -> ServiceCommand
  {
    ServiceCommand(
      FilePath(path), arguments: arguments,
      environment: ServiceEnvironment.forChildren().merging(variables) { _, new in new })
  }

  /// Runs the program until it ends, which must be successfully, and returns its output.
  static func run(_ command: inout ServiceCommand) async throws -> [String] {
    try await runProcess(&command).1
  }

  static func runProcess(_ command: inout ServiceCommand) async throws -> (Int32, [String]) {
    let running = try await RunningTool(&command)
    let lines = try await running.linesToEnd()
    #expect(try await running.process.end() == .exited(0), "\(lines)")
    return (running.process.processID, lines)
  }
}

/// A process whose output is read as it comes. Dropping this value kills the process if it has not
/// ended, so a test that throws leaves none behind.
final class RunningTool: Sendable {
  let process: ServiceProcess
  private let output: UnixStream
  private let unread = ByteStore()

  private actor ByteStore {
    var bytes: [UInt8] = []
    func append(_ more: [UInt8]) { bytes += more }
    func takeLine() -> String? {
      guard let end = bytes.firstIndex(of: 10) else { return nil }
      defer { bytes.removeFirst(end + 1) }
      return String(decoding: bytes[..<end], as: UTF8.self)
    }
  }

  init(_ command: inout ServiceCommand) async throws {
    let (ours, theirs) = try UnixStream.makePair()
    output = ours
    command.output = try await theirs.release()
    process = try command.start()
    command.output = nil
  }

  deinit {
    // Fails if the process was waited for; its number may then belong to another process.
    guard (try? process.signal(SIGKILL)) != nil else { return }
    waitpid(process.processID, nil, 0)
  }

  convenience init(_ arguments: [String], _ variables: [String: String] = [:]) async throws {
    var command = ServiceTool.command(arguments, variables)
    try await self.init(&command)
  }

  /// The next line; nil at the end.
  func line() async throws -> String? {
    while true {
      if let line = await unread.takeLine() { return line }
      guard let message = try await output.receiveMessage(deadline: .now + .seconds(40)) else {
        return nil
      }
      await unread.append(message.payload)
    }
  }

  /// Waits for a line that begins with `prefix`; returns all lines up to and including it.
  @discardableResult
  func lines(until prefix: String, sourceLocation: SourceLocation = #_sourceLocation) async throws
    -> [String]
  {
    var lines: [String] = []
    while let line = try await line() {
      lines.append(line)
      if line.hasPrefix(prefix) { return lines }
    }
    Issue.record(
      "it ended before \(prefix): \(lines.joined(separator: "\n"))", sourceLocation: sourceLocation)
    return lines
  }

  func linesToEnd() async throws -> [String] {
    var lines: [String] = []
    while let line = try await line() { lines.append(line) }
    await output.close()
    return lines
  }

  /// The number of descriptors that the process has open.
  var descriptorCount: Int {
    var count = 0
    guard let directory = opendir("/proc/\(process.processID)/fd") else { return -1 }
    defer { closedir(directory) }
    while readdir(directory) != nil { count += 1 }
    return count - 2
  }
}

extension OwnedFd {
  static func socket(_ family: Int32, _ type: Int32) throws -> OwnedFd {
    OwnedFd(adopting: FileDescriptor(rawValue: Glibc.socket(family, type | 0o2000000, 0)))
  }

  static func memoryFile() throws -> OwnedFd {
    OwnedFd(adopting: FileDescriptor(rawValue: ctd_memory_file()))
  }
}

/// Passes a path in a new directory, which is removed afterwards with its contents.
func withTemporaryPath(_ body: (FilePath) async throws -> Void) async throws {
  var template = Array("/tmp/service-tests-XXXXXX".utf8CString)
  let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
  try #require(made)
  let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer {
    for name in ["socket", "control", "local"] { unlink(directory + "/" + name) }
    rmdir(directory)
  }
  try await body(FilePath(directory + "/socket"))
}
