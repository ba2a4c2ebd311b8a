// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Another instance of this program. This object reads its standard output; it shares our standard
/// error.
final class ChildProcess {
  private let process = Process()
  private let output = Pipe()
  private var buffer = Data()

  init(_ arguments: [String]) throws {
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    try process.run()
  }

  /// Waits for the next line; nil at the end of the output.
  func readLine() -> String? {
    while true {
      if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
        defer { buffer = Data(buffer[(end + 1)...]) }
        return String(decoding: buffer[..<end], as: UTF8.self)
      }
      let more = output.fileHandleForReading.availableData
      if more.isEmpty { return nil }
      buffer += more
    }
  }

  /// Asks the process to end (SIGTERM). Does nothing if it has already ended.
  func stop() {
    if process.isRunning { process.terminate() }
  }

  @discardableResult
  func waitForExit() -> Int32 {
    process.waitUntilExit()
    return process.terminationStatus
  }

  /// Waits until the process has ended successfully, and returns its report.
  func finalReport(of name: String) throws -> Report {
    var last: String?
    while let line = readLine() { last = line }
    let status = waitForExit()
    guard status == 0 else { throw Failure("the \(name) failed with exit status \(status)") }
    guard let last, let report = Report(last) else {
      throw Failure("the \(name) ended without a report")
    }
    return report
  }
}
