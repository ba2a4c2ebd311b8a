import CProcessRestrictions
import Glibc
import SystemPackage
import Testing

/// Runs `DriverProbeTool`, which stands beside the tests, in a process of its own.
enum ProbeTool {
  /// What it printed, by name; `signal` if a signal has ended it.
  static func run(_ arguments: [String], environment: String? = nil) throws -> [String: String] {
    let ends = try FileDescriptor.pipe(options: .closeOnExec)
    defer { try? ends.readEnd.close() }
    let child: pid_t
    do {
      defer { try? ends.writeEnd.close() }
      child = try spawn(arguments, environment: environment, output: ends.writeEnd.rawValue)
    }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while case let count = try buffer.withUnsafeMutableBytes({ try ends.readEnd.read(into: $0) }), count > 0 { text += buffer[..<count] }
    var status: Int32 = 0
    try #require(waitpid(child, &status, 0) == child)

    var found: [String: String] = [:]
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      found[String(line[..<colon])] = String(line[line.index(colon, offsetBy: 2)...])
    }
    if status & 0x7f != 0 { found["signal"] = "\(status & 0x7f)" }
    return found
  }

  /// Whether the kernel gives this process a ring, whichever driver the tests run on. Not asked of the library: a probe of its that fails by mistake must not make
  /// the tests of the ring disappear.
  static let machineHasRing = cpr_kernel_has_ring() == 1

  /// Only a process of root's can become another user's, or set a system control.
  static var isRoot: Bool { geteuid() == 0 }

  private static func spawn(_ arguments: [String], environment: String?, output: Int32) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    let path = directory + "/DriverProbeTool"
    // Without the variable under which the tests themselves run.
    var variables = inheritedVariables().filter { !$0.hasPrefix("MESSAGE_SOCKETS_DRIVER=") }
    if let environment { variables.append("MESSAGE_SOCKETS_DRIVER=\(environment)") }
    var child: pid_t = 0
    let status = withCStrings([path] + arguments) { argv in
      withCStrings(variables) { posix_spawn(&child, path, &actions, nil, argv, $0) }
    }
    try #require(status == 0, "posix_spawn(\(path)): \(status)")
    return child
  }

  /// The directory of the running test program.
  private static var directory: String {
    var target = [UInt8](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &target, target.count)
    let path = String(decoding: target[..<max(0, length)], as: UTF8.self)
    return String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)])
  }

  private static func inheritedVariables() -> [String] {
    var variables: [String] = []
    var next = environ
    while let variable = next.pointee {
      variables.append(String(cString: variable))
      next += 1
    }
    return variables
  }

  private static func withCStrings<R>(_ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R) -> R {
    let copies = strings.map { strdup($0) }
    defer { for copy in copies { free(copy) } }
    return body(copies + [nil])
  }
}
