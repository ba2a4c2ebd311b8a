// SPDX-License-Identifier: Apache-2.0
import SystemPackage

/// A privilege of this process (capabilities(7)). In a container, root does not have all of them.
enum Capability: Int {
  case setGroup = 6
  case setUser = 7
  /// CAP_SYS_ADMIN.
  case administer = 21
}

/// Whether this process has all of these, according to /proc/self/status.
func hasCapabilities(_ capabilities: Capability...) -> Bool {
  guard let status = try? RFC3430Tests.text("/proc/self/status"),
    let line = status.split(separator: "\n").first(where: { $0.hasPrefix("CapEff:") }),
    let effective = UInt64(line.dropFirst(7).filter { $0.isHexDigit }, radix: 16)
  else { return false }
  return capabilities.allSatisfy { effective & 1 << UInt64($0.rawValue) != 0 }
}
