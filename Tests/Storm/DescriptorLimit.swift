// SPDX-License-Identifier: Apache-2.0
import Glibc

enum DescriptorLimit {
  /// Raises the limit to the maximum that the system allows this user. Returns that maximum.
  static func raise() -> Int {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(clamping: limit.rlim_cur)
  }
}
