// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Harness

/// Another instance of this program.
struct Child: Sendable {
  private let process: pid_t

  init(arguments: [String]) throws {
    var words: [UnsafeMutablePointer<CChar>?] =
      ([CommandLine.arguments[0]] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process: pid_t = 0
    let result = posix_spawn(&process, "/proc/self/exe", nil, nil, &words, environ)
    guard result == 0 else { throw Failure("posix_spawn: \(result)") }
    self.process = process
  }

  /// Waits for the child to end, which must be successful.
  func wait() throws {
    var status: Int32 = 0
    guard waitpid(process, &status, 0) == process, status == 0 else {
      throw Failure("the other process failed: \(status)")
    }
  }
}
