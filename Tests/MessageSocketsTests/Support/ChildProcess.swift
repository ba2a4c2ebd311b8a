// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Synchronization
import SystemPackage

/// A process that a test has started. Its descriptors are 0 to 2 and those that were passed to it,
/// because all of ours are close-on-exec. No signal is blocked in it, although the loop's thread
/// blocks all and the process would inherit that mask: a daemon could not be asked to end. Dropping
/// this value kills a process that was not waited for, so a test that throws leaves none behind.
final class ChildProcess: Sendable {
  let id: pid_t
  private let hasBeenWaitedFor = Atomic(false)

  /// Starts a program, which is searched for in `PATH` if its name has no slash.
  ///
  /// - Parameters:
  ///   - words: The program and its arguments.
  ///   - environment: Variables to change; nil removes one.
  ///   - descriptors: The descriptors that the process gets, by number. The caller keeps its own.
  /// - Throws: `Errno`, such as `noSuchFileOrDirectory` if there is no such program.
  init(_ words: [String], environment: [String: String?] = [:], descriptors: [Int32: Int32] = [:])
    throws
  {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // In order, so that a descriptor 3 is not overwritten before it is copied to 1.
    for (number, ours) in descriptors.sorted(by: { $0.key < $1.key }) {
      posix_spawn_file_actions_adddup2(&actions, ours, number)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var noSignals = sigset_t()
    sigemptyset(&noSignals)
    posix_spawnattr_setsigmask(&attributes, &noSignals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var child: pid_t = 0
    let status = withCStrings(words) { arguments in
      withCStrings(Self.variables(changedBy: environment)) {
        posix_spawnp(&child, words[0], &actions, &attributes, arguments, $0)
      }
    }
    guard status == 0 else { throw Errno(rawValue: status) }
    id = child
  }

  deinit {
    guard !hasBeenWaitedFor.load(ordering: .acquiring) else { return }
    kill(id, SIGKILL)
    _ = exitStatus()
  }

  /// Waits until the process ends; blocks the thread. A negative result is a signal's number,
  /// negated.
  func exitStatus() -> Int32 {
    var status: Int32 = 0
    while waitpid(id, &status, 0) < 0 { guard errno == EINTR else { return .min } }
    hasBeenWaitedFor.store(true, ordering: .releasing)
    return status & 0x7F == 0 ? status >> 8 & 0xFF : -(status & 0x7F)
  }

  /// Waits until the process ends, without blocking the loop.
  func end() async -> Int32 { await Task.detached { self.exitStatus() }.value }

  /// Whether the process has not ended.
  var isRunning: Bool {
    var found = siginfo_t()
    return waitid(P_PID, id_t(id), &found, WEXITED | WNOHANG | WNOWAIT) == 0 && found.si_signo == 0
  }

  /// Asks a process to end that does not end by itself.
  func terminate() { kill(id, SIGTERM) }

  /// The directory of the running test program, which also contains the tools for tests.
  static let directory: String = {
    var target = [UInt8](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &target, target.count)
    let path = String(decoding: target[..<max(0, length)], as: UTF8.self)
    return String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)])
  }()

  private static func variables(changedBy changes: [String: String?]) -> [String] {
    var variables: [String] = []
    var next = environ
    while let variable = next.pointee {
      variables.append(String(cString: variable))
      next += 1
    }
    variables.removeAll { variable in changes.keys.contains { variable.hasPrefix("\($0)=") } }
    return variables + changes.compactMap { name, value in value.map { "\(name)=\($0)" } }
  }
}

private func withCStrings<R>(_ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R)
  -> R
{
  let copies = strings.map { strdup($0) }
  defer { for copy in copies { free(copy) } }
  return body(copies + [nil])
}
