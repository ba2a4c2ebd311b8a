// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SocketEngine
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

extension UnixBinding {
  /// bind(2), with the file as wanted. Returns the file, if it is to be removed with the socket.
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

  /// Linux gives a new socket file the permissions of the socket itself, less the umask, so
  /// limiting those first keeps the file from ever having more than wanted.
  private func limitPermissions(of socket: borrowing OwnedFd, _ name: AnySocketAddress)
    throws(SocketError)
  {
    let result = socket.withUnsafeFileDescriptor { fchmod($0.rawValue, permissions.rawValue) }
    guard result == 0 else { throw SocketError(result: -errno, .bind, address: name) }
  }

  /// Adds the permissions that the umask has removed. The umask belongs to the whole process and is
  /// not changed.
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
