// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Runs shell scripts in containers by runc(8), whose state and root directory are in a directory
/// of their own.
struct Containers {
  private let directory: URL

  /// Makes a root directory that holds busybox and nothing else.
  init(in directory: URL) throws {
    self.directory = directory
    let programs = directory.appendingPathComponent("rootfs/bin")
    try FileManager.default.createDirectory(at: programs, withIntermediateDirectories: true)
    let candidates = ["/bin/busybox", "/usr/bin/busybox"]
    guard let busybox = candidates.first(where: FileManager.default.isExecutableFile) else {
      throw Unavailable(reason: "no busybox (apt-get install busybox-static)")
    }
    try FileManager.default.copyItem(
      atPath: busybox, toPath: programs.appendingPathComponent("busybox").path)
    for name in ["sh", "cat", "stty"] {
      try FileManager.default.createSymbolicLink(
        atPath: programs.appendingPathComponent(name).path, withDestinationPath: "busybox")
    }
    try runc(["spec"] + (geteuid() == 0 ? [] : ["--rootless"]))
    // Without a console socket first: if that fails, the machine is the reason.
    try configure("true", terminal: false)
    try runc(["run", "probe"])
  }

  /// Starts a script on a terminal that goes to `socket`, and returns when it runs.
  func start(_ name: String, _ script: String, socket: String) throws {
    try configure(script, terminal: true)
    try runc(["run", "--detach", "--console-socket", socket, name])
  }

  /// Removes a container that has ended, or ends in a moment.
  ///
  /// - Throws: ``Unavailable`` if it runs after five seconds.
  func remove(_ name: String) async throws {
    let limit = ContinuousClock.now + .seconds(5)
    while true {
      do { return try runc(["delete", name]) } catch  where ContinuousClock.now < limit {
        try await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  /// Ends all containers, after a failure.
  func removeAll() {
    for name in ["probe", "talks", "waits"] { try? runc(["delete", "--force", name]) }
  }

  private func configure(_ script: String, terminal: Bool) throws {
    let file = directory.appendingPathComponent("config.json")
    let content = try JSONSerialization.jsonObject(with: Data(contentsOf: file))
    guard var configuration = content as? [String: Any],
      var process = configuration["process"] as? [String: Any]
    else { throw Unavailable(reason: "runc spec has written no configuration") }
    process["args"] = ["/bin/sh", "-c", script]
    process["terminal"] = terminal
    configuration["process"] = process
    try JSONSerialization.data(withJSONObject: configuration).write(to: file)
  }

  private func runc(_ arguments: [String]) throws {
    let log = directory.appendingPathComponent("log")
    _ = FileManager.default.createFile(atPath: log.path, contents: nil)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
      ["timeout", "30", "runc", "--root", directory.appendingPathComponent("state").path]
      + arguments
    process.currentDirectoryURL = directory
    process.standardInput = FileHandle.nullDevice
    let output = try FileHandle(forWritingTo: log)
    process.standardOutput = output
    process.standardError = output
    try process.run()
    process.waitUntilExit()
    try output.close()
    guard process.terminationStatus == 0 else {
      let text = String(decoding: try Data(contentsOf: log), as: UTF8.self)
      throw Unavailable(
        reason: text.split(separator: "\n").last.map(String.init) ?? "runc has failed")
    }
  }

  struct Unavailable: Error, CustomStringConvertible {
    let reason: String
    var description: String { reason }
  }
}
