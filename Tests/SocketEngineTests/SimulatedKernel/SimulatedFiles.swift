// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import Glibc

/// Real descriptors that identify themselves: an eventfd whose count is its number, until it is
/// first read.
enum SimulatedFiles {
  static func make(_ id: UInt64) -> Int32 {
    let number = cms_eventfd()
    precondition(number >= 0, "no descriptors left: \(number)")
    var id = id
    precondition(write(number, &id, 8) == 8)
    return number
  }

  /// The identity of a descriptor. Nil if it is none of these, or if it was asked for before, which
  /// means that the message was delivered twice.
  static func identify(_ number: Int32) -> UInt64? {
    var id: UInt64 = 0
    return read(number, &id, 8) == 8 ? id : nil
  }

  /// Duplicates a descriptor, as the kernel holds a file in a message.
  static func duplicate(_ number: Int32) -> Int32 { fcntl(number, F_DUPFD_CLOEXEC, 0) }

  static func isCloseOnExec(_ number: Int32) -> Bool { fcntl(number, F_GETFD) & FD_CLOEXEC != 0 }

  /// The identity of an open socket; 0 if the number is not open.
  static func inode(_ number: Int32) -> UInt64 {
    var status = stat()
    return fstat(number, &status) == 0 ? UInt64(status.st_ino) : 0
  }

  /// The numbers of all open descriptors.
  static func open() -> Set<Int32> {
    guard let directory = opendir("/proc/self/fd") else { return [] }
    defer { closedir(directory) }
    var found: Set<Int32> = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if let number = Int32(name), number != dirfd(directory) { found.insert(number) }
    }
    return found
  }
}
