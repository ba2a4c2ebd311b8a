// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SocketEngine
public import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

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

extension UnixBinding {
  /// Calls bind(2) and sets up the file as configured. Returns the file if it must be removed with
  /// the socket.
  ///
  /// - Throws: ``SocketError``, with the address: `addressInUse`, `notPermitted`, `notFound`.
  func bind(_ socket: borrowing OwnedFd, to address: UnixAddress) throws(SocketError) -> SocketFile?
  {
    let name = AnySocketAddress(address)
    guard let path = address.path else {
      try socket.bind(to: name)
      return nil
    }
    try limitPermissions(of: socket, name)
    do {
      try socket.bind(to: name)
    } catch  where error.code == .addressInUse && replacesStaleFile {
      try StaleSocketFile.replace(path, address) { () throws(SocketError) in
        try socket.bind(to: name)
      }
    }
    guard let made = FileIdentity(path: path), made.isSocket else {
      throw SocketError(
        .addressInUse, .bind, address: name,
        detail: "the file was taken away or replaced as soon as it was made")
    }
    let file = SocketFile(path: path, identity: made)
    if made.permissions != permissions { try setPermissions(of: path, name) }
    if removesFile { return file }
    file.keep()
    return nil
  }

  /// Limits the permissions of the socket before bind(2). Linux gives the socket file the socket's
  /// permissions, less the umask, so the file never has more than configured.
  private func limitPermissions(of socket: borrowing OwnedFd, _ name: AnySocketAddress)
    throws(SocketError)
  {
    let result = socket.withUnsafeFileDescriptor { fchmod($0.rawValue, permissions.rawValue) }
    guard result == 0 else { throw SocketError(result: -errno, .bind, address: name) }
  }

  /// Adds the permissions that the umask removed. The umask belongs to the whole process and is not
  /// changed.
  private func setPermissions(of path: FilePath, _ name: AnySocketAddress) throws(SocketError) {
    // SAFETY: the string ends with a NUL, and is not used after the call.
    let result = unsafe path.withPlatformString { path in
      unsafe fchmodat(AT_FDCWD, path, permissions.rawValue, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno
    }
    guard result == 0 else {
      throw SocketError(result: result, .bind, address: name, detail: "the permissions of the file")
    }
  }
}
