// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import SystemPackage

/// The file that bind(2) has made for a socket. It is removed at the end of this value, which has
/// to come before that of the socket: an open socket pins its file's inode, so that no other file
/// can have the same number meanwhile.
package struct BoundFile: ~Copyable, Sendable {
  private let path: FilePath
  private let identity: FileIdentity
  private var isKept = false

  /// - Parameter path: where the socket was bound just now. A relative path means what it means
  ///   when the file is removed.
  package init(path: FilePath, identity: FileIdentity) {
    self.path = path
    self.identity = identity
  }

  deinit {
    // Somebody may have put another file there. Linux cannot compare and remove in one step; what
    // may slip in between is a file that was exchanged by hand.
    if isKept || FileIdentity(path: path) != identity { return }
    // SAFETY: the string ends with a NUL, and is not used after the call.
    unsafe path.withPlatformString { path in _ = unsafe unlink(path) }
  }

  /// Leaves the file where it is.
  package consuming func keep() { isKept = true }
}
