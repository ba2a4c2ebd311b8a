// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// How a Unix socket is bound to a path: who may connect, what becomes of a file that a dead
/// process has left there, and of ours at the end. Abstract addresses have no file, and none of
/// this.
public struct UnixBinding: Sendable, Hashable {
  /// The file's permissions, exactly: the process's umask has no part in it. Who may write to the
  /// file may connect, or send. The file never has more permissions than these, not even for a
  /// moment; the directory's permissions count as well.
  public var permissions: FilePermissions

  /// Whether a socket file whose socket is closed, as a process leaves it that was killed, is
  /// replaced. A file that a socket of any process is bound to is never replaced, nor one that is
  /// no socket.
  ///
  /// That the socket is dead is asked of the kernel, without a connection that its owner would see.
  /// Of several processes that find the same dead file at the same time one replaces it: for that
  /// moment an empty file with the suffix `.message-sockets-lock` stands beside it. What remains
  /// possible is that a program that does not know this lock removes the dead file *and* binds a
  /// new socket between our last look and the removal, some microseconds.
  public var replacesStaleFile: Bool

  /// Whether the file is removed when the socket is closed here, explicitly or because nobody
  /// refers to it any more; only if it is still the file that was made. It is removed first, so
  /// that nobody finds a file that leads nowhere. A process that is killed leaves it. So does
  /// ``LoopSocket/release()``: the file belongs to the new owner. A relative path is looked up from
  /// the working directory at that time.
  public var removesFile: Bool

  /// Only the process's own user may connect; stale files are replaced; the file goes with the
  /// socket.
  public init(
    permissions: FilePermissions = .ownerReadWrite, replacesStaleFile: Bool = true,
    removesFile: Bool = true
  ) {
    self.permissions = permissions
    self.replacesStaleFile = replacesStaleFile
    self.removesFile = removesFile
  }
}
