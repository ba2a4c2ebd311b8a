// SPDX-License-Identifier: Apache-2.0
import MessageSockets

extension OwnedFd {
  static func numbered(_ number: Int) throws -> OwnedFd { try numbered(0, UInt64(number)) }

  /// The file's number; it can be read once.
  var number: Int { Int(takeNumbers()?.number ?? 0) }
}
