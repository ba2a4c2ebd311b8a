// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// What the process uses, asked of the kernel.
public enum ProcessState {
  /// Raises the limit of open descriptors as far as it may go, beyond the hard limit too if that is
  /// permitted.
  public static func raiseDescriptorLimit() {
    var wanted = rlimit(rlim_cur: 1_000_000, rlim_max: 1_000_000)
    if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &wanted) == 0 { return }
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  /// The open descriptors and what they refer to. Descriptors that the runtime opens for its
  /// timers, at times that a test cannot know, are left out.
  public static var openDescriptors: [Int: String] {
    guard let directory = opendir("/proc/self/fd") else { return [:] }
    defer { closedir(directory) }
    var found: [Int: String] = [:]
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard let number = Int(name), number != dirfd(directory) else { continue }
      found[number] = target(of: "/proc/self/fd/\(name)")
    }
    return found
  }

  private static func target(of link: String) -> String {
    var text = [UInt8](repeating: 0, count: 256)
    let count = text.withUnsafeMutableBytes { readlink(link, $0.baseAddress!, $0.count) }
    return String(decoding: text.prefix(max(count, 0)), as: UTF8.self)
  }

  /// The memory that the process has resident.
  public static var residentBytes: Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    fgets(&line, 128, file)
    let pages = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self).split(
      separator: " ")
    return Int(pages[1])! * sysconf(Int32(_SC_PAGESIZE))
  }

  /// Fails if a descriptor is open that was not `before`. A thread that ends closes its last ones
  /// within a moment.
  public static func checkDescriptors(_ before: [Int: String]) async throws {
    var leaked: [Int: String] = [:]
    for _ in 0..<100 {
      leaked = openDescriptors.filter {
        before[$0.key] == nil && $0.value != "anon_inode:[timerfd]"
      }
      if leaked.isEmpty { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw Failure(
      "\(leaked.count) descriptors leaked: \(leaked.values.sorted().joined(separator: ", "))")
  }
}
