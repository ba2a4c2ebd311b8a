// SPDX-License-Identifier: Apache-2.0
import CProcessRestrictions
import Glibc
import SystemPackage
import Testing

/// Runs `DriverProbeTool`, or another tool that stands beside the tests, in a process of its own.
enum ProbeTool {
  static let path = ChildProcess.directory + "/DriverProbeTool"

  /// What it printed, by name; `signal` if a signal has ended it.
  static func run(
    _ arguments: [String], environment: String? = nil, variables: [String: String?] = [:],
    tool: String = path
  ) throws -> [String: String] {
    let output = try OutputPipe()
    // Without the variables under which the tests themselves run.
    let child = try output.feed {
      let own: [String: String?] = [
        "MESSAGE_SOCKETS_DRIVER": environment, "MESSAGE_SOCKETS_AHEAD": nil,
      ]
      return try ChildProcess(
        [tool] + arguments, environment: own.merging(variables) { _, given in given },
        descriptors: [1: $0])
    }
    var found = values(in: try output.readToEnd())
    let status = child.exitStatus()
    if status < 0 { found["signal"] = "\(-status)" }
    return found
  }

  private static func values(in text: String) -> [String: String] {
    var found: [String: String] = [:]
    for line in text.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      found[String(line[..<colon])] = String(line[line.index(colon, offsetBy: 2)...])
    }
    return found
  }

  /// Whether the kernel gives this process a ring, whichever driver the tests run on. Not asked of
  /// the library: a probe of its that fails by mistake must not make the tests of the ring
  /// disappear.
  static let machineHasRing = cpr_kernel_has_ring() == 1

  /// A user that nobody is, and that no other process of tests takes: what is counted for each user
  /// is this one's alone.
  static let ownUser = 60_000 + getpid() % 5000

  /// Whether the tool can be run in a user namespace of its own (unshare(1)).
  static let canMakeUserNamespaces =
    (try? ChildProcess(["unshare", "--user", "--map-root-user", "true"]).exitStatus()) == 0

  /// Only a process of root's can become another user's, or set a system control.
  static var isRoot: Bool { geteuid() == 0 }
}
