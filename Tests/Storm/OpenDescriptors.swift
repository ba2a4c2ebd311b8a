// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The open descriptors of this process.
enum OpenDescriptors {
  /// Their numbers, and what they are; without timers, of which the library has none, and the
  /// runtime's thread pool makes one when it likes.
  static func now() -> [Int32: String] {
    guard let directory = opendir("/proc/self/fd") else { return [:] }
    defer { closedir(directory) }
    var found: [Int32: String] = [:]
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard let number = Int32(name), number != dirfd(directory) else { continue }
      var target = [UInt8](repeating: 0, count: 256)
      let length = readlink("/proc/self/fd/\(number)", &target, target.count)
      let kind = String(decoding: target[..<max(0, length)], as: UTF8.self)
      if length >= 0, kind != "anon_inode:[timerfd]" { found[number] = kind }
    }
    return found
  }

  /// Allows as many as the system lets this user have. Returns how many that are.
  static func raiseLimit() -> Int {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(clamping: limit.rlim_cur)
  }
}
