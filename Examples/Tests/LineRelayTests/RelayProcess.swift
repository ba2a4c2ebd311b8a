// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The program, which is in the tests' directory, as another process. This object reads its
/// standard output.
final class RelayProcess {
  private let process = Process()
  private let output = Pipe()
  private var buffer = Data()

  init(_ directory: String) throws {
    let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.executableURL = tests.deletingLastPathComponent().appendingPathComponent("line-relay")
    process.arguments = [directory]
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

  /// Sends SIGTERM.
  func terminate() { process.terminate() }

  /// Kills the process after a failed test.
  func kill() { if process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) } }

  func exitStatus() -> Int32 {
    process.waitUntilExit()
    return process.terminationReason == .exit
      ? process.terminationStatus : -process.terminationStatus
  }
}
