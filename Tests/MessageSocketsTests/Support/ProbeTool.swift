// SPDX-License-Identifier: Apache-2.0
import CProcessRestrictions
import Glibc
import SystemPackage
import Testing

/// Runs `DriverProbeTool`, or another tool in the tests' directory, in a separate process.
enum ProbeTool {
  static let path = ChildProcess.directory + "/DriverProbeTool"

  /// The tool's output by name; `signal` if a signal has ended the tool.
  static func run(
    _ arguments: [String], environment: String? = nil, variables: [String: String?] = [:],
    tool: String = path
  ) throws -> [String: String] {
    let output = try OutputPipe()
    // Without the variables that control the tests themselves.
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

  /// Whether the kernel gives this process a ring, whatever driver the tests use. Determined
  /// without the library, because a faulty probe must not disable the tests of the ring.
  static let machineHasRing = cpr_kernel_has_ring() == 1

  /// An otherwise unused user, which no other test process takes either, so that per-user limits
  /// count only this user's resources.
  static let ownUser = 60_000 + getpid() % 5000

  /// Whether the tool can be run in its own user namespace (unshare(1)).
  static let canMakeUserNamespaces =
    (try? ChildProcess(["unshare", "--user", "--map-root-user", "true"]).exitStatus()) == 0

  /// Only a process of root can change its user or set a system control.
  static var isRoot: Bool { geteuid() == 0 }
}
