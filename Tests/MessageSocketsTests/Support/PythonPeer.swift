import Glibc
import Testing

/// A python3 process that runs a script of `Tests/Interop`.
struct PythonPeer {
  let process: pid_t

  /// Whether there is a python3 that can pass descriptors (3.9 or newer).
  static let isAvailable: Bool = {
    guard let probe = try? PythonPeer(arguments: ["-c", "import socket; socket.send_fds; socket.recv_fds"]) else { return false }
    return probe.exitStatus() == 0
  }()

  /// Starts the script.
  init(script: String = "fd_peer.py", _ arguments: [String]) throws {
    let tests = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    try self.init(arguments: ["/\(tests)/Interop/\(script)"] + arguments)
  }

  private init(arguments: [String]) throws {
    let words = ["python3"] + arguments
    // SAFETY: the copies of the words live until the call has returned.
    var pointers = unsafe words.map { unsafe strdup($0) } + [nil]
    defer { for pointer in unsafe pointers { unsafe free(pointer) } }
    var process: pid_t = 0
    let result = unsafe posix_spawnp(&process, "python3", nil, nil, &pointers, environ)
    try #require(result == 0, "python3 cannot be started")
    self.process = process
  }

  /// Waits for the end of the process; blocks the thread. Negative: it ended by a signal.
  func exitStatus() -> Int32 {
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 { guard errno == EINTR else { return -1 } }
    return status & 0x7F == 0 ? status >> 8 & 0xFF : -(status & 0x7F)
  }
}
