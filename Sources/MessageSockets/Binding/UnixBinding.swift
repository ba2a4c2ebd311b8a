// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// How a Unix socket is bound to a path: the permissions of its file, and the fate of stale and
/// finished files. An abstract address has no file, and none of this applies to it.
public struct UnixBinding: Sendable, Hashable {
  /// The file's permissions, exactly; the process's umask is not applied.
  ///
  /// Write permission on the file is what lets a process connect, or send to a datagram socket. The
  /// file never has more permissions than these, not even for a moment. The permissions of the
  /// directories above it count as well.
  public var permissions: FilePermissions

  /// Whether to replace the socket file of a dead process.
  ///
  /// A killed process leaves its socket file behind. Such a file is replaced; a file that a socket
  /// of any process is bound to is never replaced, and neither is a file of another kind.
  ///
  /// The kernel is asked whether the socket is dead, without a connection that its owner would see.
  /// When several processes find the same dead file, one of them replaces it: for that moment an
  /// empty file with the suffix `.message-sockets-lock` stands beside it. One race remains: a
  /// program that does not know this lock can remove the dead file *and* bind a new socket in the
  /// microseconds between the last check and the removal.
  public var replacesStaleFile: Bool

  /// Whether to remove the file when the socket is closed here, explicitly or with its last
  /// reference.
  ///
  /// The file is removed only if it is still the file that was made, and before the socket is
  /// closed, so that no client finds a file that leads nowhere. A killed process leaves its file.
  /// ``LoopSocket/release()`` leaves it too: it belongs to the new owner. A relative path is looked
  /// up from the working directory at the time of the removal.
  public var removesFile: Bool

  /// Creates a binding; by default only the process's own user may connect, stale files are
  /// replaced, and the file is removed with the socket.
  public init(
    permissions: FilePermissions = .ownerReadWrite, replacesStaleFile: Bool = true,
    removesFile: Bool = true
  ) {
    self.permissions = permissions
    self.replacesStaleFile = replacesStaleFile
    self.removesFile = removesFile
  }
}
