// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import SystemPackage

/// Which file something is, and whether it is a socket: as long as somebody has the file open, no
/// other has the same numbers.
package struct FileIdentity: Equatable, Sendable {
  private let device: UInt64
  private let inode: UInt64
  package let isSocket: Bool
  package let permissions: FilePermissions

  /// What stands at a path; a symbolic link is not followed. Nil if that cannot be told, as when
  /// there is nothing. The C name is lstat(2).
  package init?(path: FilePath) {
    var status = stat()
    // SAFETY: the string ends with a NUL; both arguments are not used after the call.
    let result = unsafe path.withPlatformString { path in unsafe lstat(path, &status) }
    guard result == 0 else { return nil }
    self.init(status)
  }

  /// The C name is fstat(2).
  package init?(_ descriptor: FileDescriptor) {
    var status = stat()
    // SAFETY: `status` is a local.
    guard unsafe fstat(descriptor.rawValue, &status) == 0 else { return nil }
    self.init(status)
  }

  private init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    isSocket = status.st_mode & S_IFMT == S_IFSOCK
    permissions = FilePermissions(rawValue: status.st_mode & 0o7777)
  }

  package static func == (left: FileIdentity, right: FileIdentity) -> Bool {
    left.device == right.device && left.inode == right.inode
  }
}
