// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// The results of a script.
struct Ended {
  let status: Int32
  let output: String
  let errors: String

  var lines: [String] { output.split(separator: "\n").map(String.init) }
  var json: [String: Any]? {
    (try? JSONSerialization.jsonObject(with: Data(output.utf8))) as? [String: Any]
  }
  var jsonList: [[String: Any]]? {
    (try? JSONSerialization.jsonObject(with: Data(output.utf8))) as? [[String: Any]]
  }
}

/// Runs a bash script that finds the program as `$MSOCK` and an empty directory, which is removed
/// afterwards, as `$T`. `start COMMAND…` starts msock in the background, waits for its first line
/// on standard error, and sets `$pid` to its process ID. After two minutes everything is ended
/// (status 124, or 137).
func bash(_ script: String, environment: [String: String] = [:]) throws -> Ended {
  let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
    "msock-\(UUID().uuidString)"
  ).path
  try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  let prelude = """
    set -u
    started=()
    trap 'for one in "${started[@]}"; do kill "$one" 2>/dev/null; done; wait' EXIT
    start() {
      local fifo="$T/ready.${#started[@]}" line
      mkfifo "$fifo"
      "$MSOCK" "$@" 2>"$fifo" &
      pid=$!
      started+=("$pid")
      # Stays open: what is written later must not end the program.
      exec {ready}<"$fifo"
      read -r line <&"$ready"
      echo "$line" >&2
    }

    """
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = ["timeout", "-k", "5", "120", "bash", "-c", prelude + script]
  var variables = ProcessInfo.processInfo.environment
  variables["MSOCK"] = Msock.path
  variables["T"] = directory
  variables["NOTIFY_SOCKET"] = nil
  process.environment = variables.merging(environment) { _, new in new }
  // Uses files, which do not fill up like pipes.
  let output = FileManager.default.temporaryDirectory.appendingPathComponent(
    "msock-output-\(UUID().uuidString)")
  let errors = output.appendingPathExtension("errors")
  for file in [output, errors] {
    _ = FileManager.default.createFile(atPath: file.path, contents: nil)
  }
  defer { for file in [output, errors] { try? FileManager.default.removeItem(at: file) } }
  process.standardOutput = try FileHandle(forWritingTo: output)
  process.standardError = try FileHandle(forWritingTo: errors)
  process.standardInput = FileHandle.nullDevice
  try process.run()
  process.waitUntilExit()
  return Ended(
    status: process.terminationReason == .exit
      ? process.terminationStatus : 128 + process.terminationStatus,
    output: try String(decoding: Data(contentsOf: output), as: UTF8.self),
    errors: try String(decoding: Data(contentsOf: errors), as: UTF8.self))
}

enum Msock {
  /// The program, which is in the tests' directory.
  static let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("msock").path
}

/// An abstract address for this process only.
func abstractAddress() -> String { "@msock-\(UUID().uuidString)" }

/// Runs a blocking function off the threads of this process's tasks.
func inBackground(_ body: @escaping @Sendable () throws -> Ended) async throws -> Ended {
  try await withCheckedThrowingContinuation { done in
    Thread.detachNewThread { done.resume(with: Result { try body() }) }
  }
}
