// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import ServiceManagement
import SystemPackage

/// Reports over the control socket what this process has: one line for each open descriptor, with
/// what it is, and its rights. Then answers each message with the contents of the files in it,
/// until the other side closes.
func serveParent() async throws {
  let facts = ownDescriptors() + ownRights()
  let control: UnixSeqpacket = try Activation.takeControlSocket()
  try await control.sendMessage(Array(facts.joined(separator: "\n").utf8))
  for try await message in control.messages {
    var answer = Array("\(getpid()):".utf8)
    var files = message.takeDescriptors()
    while let file = files.takeFirst() {
      var bytes = [UInt8](repeating: 0, count: 64)
      let count = try file.withUnsafeFileDescriptor { file in
        try bytes.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: 0, into: $0) }
      }
      answer += bytes[..<count]
    }
    try await control.sendMessage(answer)
  }
  await control.close()
}

/// As `fd 3 socket:[4711]`, from /proc/self/fd, without the descriptor that reads the directory.
func ownDescriptors() -> [String] {
  guard let directory = opendir("/proc/self/fd") else { return ["no /proc/self/fd: \(errno)"] }
  defer { closedir(directory) }
  var numbers: [Int32] = []
  while let entry = readdir(directory) {
    let name = withUnsafeBytes(of: entry.pointee.d_name) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    if let number = Int32(name), number != dirfd(directory) { numbers.append(number) }
  }
  return numbers.sorted().map { number in
    var target = [UInt8](repeating: 0, count: 4096)
    let length = readlink("/proc/self/fd/\(number)", &target, target.count)
    return "fd \(number) \(String(decoding: target[..<max(0, length)], as: UTF8.self))"
  }
}

/// The lines of /proc/self/status about users, groups, capabilities and privileges, each with
/// single spaces; and whether this process may become root.
private func ownRights() -> [String] {
  guard let status = try? FileDescriptor.open("/proc/self/status", .readOnly) else {
    return ["no status"]
  }
  defer { try? status.close() }
  var bytes = [UInt8](repeating: 0, count: 8192)
  let count = (try? bytes.withUnsafeMutableBytes { try status.read(into: $0) }) ?? 0
  let wanted = ["Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapAmb:", "NoNewPrivs:"]
  let lines = String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").filter {
    line in
    wanted.contains { line.hasPrefix($0) }
  }
  return lines.map { $0.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
    + ["becomes root: \(setuid(0) == 0)"]
}

/// Starts a child with the rights of another user, which this process may not do.
func startAs(_ user: UInt32) {
  let before = ownDescriptors()
  var command = ServiceCommand("/bin/true")
  command.rights = .user(user, group: user)
  do throws(ServiceError) {
    _ = try command.start()
    say("started")
  } catch { say("\(error)") }
  say("leaked: \(ownDescriptors() != before)")
  say("child left: \(waitpid(-1, nil, WNOHANG) >= 0 || errno != ECHILD)")
}
