// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import Glibc
internal import SocketEngine
internal import SystemPackage

extension UnixBinding {
  /// bind(2), with the file as wanted. Returns the file, if it is to be removed with the socket.
  ///
  /// - Throws: ``SocketError``, with the address: `addressInUse`, `notPermitted`, `notFound`.
  func bind(_ socket: borrowing OwnedFd, to address: UnixAddress) throws(SocketError) -> BoundFile?
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
      try StaleFile.replace(path, address) { () throws(SocketError) in try socket.bind(to: name) }
    }
    guard let made = FileIdentity(path: path), made.isSocket else {
      throw SocketError(
        .addressInUse, .bind, address: name,
        detail: "the file was taken away or replaced as soon as it was made")
    }
    let file = BoundFile(path: path, identity: made)
    if made.permissions != permissions { try setPermissions(of: path, name) }
    if removesFile { return file }
    file.keep()
    return nil
  }

  /// A new file gets what the socket itself has, less the umask (bind(2) of Linux): so it never has
  /// more than wanted.
  private func limitPermissions(of socket: borrowing OwnedFd, _ name: AnySocketAddress)
    throws(SocketError)
  {
    let result = socket.withUnsafeFileDescriptor { fchmod($0.rawValue, permissions.rawValue) }
    guard result == 0 else { throw SocketError(result: -errno, .bind, address: name) }
  }

  /// Adds what the umask has taken away; the umask itself is the whole process's, and stays.
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
