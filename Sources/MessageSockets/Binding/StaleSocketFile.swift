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

/// Replaces a file that prevents a socket from being bound, if a dead socket left it behind.
enum StaleSocketFile {
  /// Removes the file at `path` if it is a dead socket's, and binds there.
  ///
  /// - Throws: ``SocketError``: `addressInUse`, with the reason why the file was left alone;
  ///   `notPermitted`.
  static func replace(
    _ path: FilePath, _ address: UnixAddress, binding: () throws(SocketError) -> Void
  ) throws(SocketError) {
    let lock = try SocketFileLock(address)
    defer { withExtendedLifetime(lock) {} }
    try remove(path, address)
    try binding()
  }

  private static func remove(_ path: FilePath, _ address: UnixAddress) throws(SocketError) {
    // The file is kept open, so that its inode number cannot be reused during the checks.
    guard let file = open(path) else { return }
    let identity = file.withUnsafeFileDescriptor { FileIdentity($0) }
    guard let identity, identity.isSocket else {
      throw inUse(address, "the file there is not a socket: move it away, or choose another path")
    }
    try checkIsDead(address)
    guard FileIdentity(path: path) == identity else {
      throw inUse(address, "another process has replaced the file just now")
    }
    // SAFETY: the string ends with a NUL, and is not used after the call.
    let result = unsafe path.withPlatformString { path in unsafe unlink(path) == 0 ? 0 : -errno }
    guard result == 0 || -result == ENOENT else {
      throw SocketError(
        result: result, .bind, address: AnySocketAddress(address), detail: "removing the stale file"
      )
    }
  }

  /// Connects a datagram socket to the path, which the file's owner does not notice. The kernel
  /// answers `EPROTOTYPE` if a socket of another type is bound to the file, even if that does not
  /// listen yet, and `ECONNREFUSED` only if no socket is bound to it.
  private static func checkIsDead(_ address: UnixAddress) throws(SocketError) {
    let probe = try SocketForm(families: [cms_family_unix], kind: .datagram).make()
    let number = probe.withUnsafeFileDescriptor { $0.rawValue }
    switch unsafe AnySocketAddress(address).bytes.withUnsafeBytes({
      unsafe cms_connect(number, $0.baseAddress, UInt32($0.count))
    }) {
    case -ECONNREFUSED, -ENOENT: return
    case -EACCES:
      throw inUse(
        address, "whether a process uses it cannot be told without write permission on the file")
    default: throw inUse(address, "a process is bound to it")
    }
  }

  private static func open(_ path: FilePath) -> OwnedFd? {
    let options: FileDescriptor.OpenOptions = [
      .init(rawValue: cms_open_path), .noFollow, .closeOnExec,
    ]
    return (try? FileDescriptor.open(path, .readOnly, options: options)).map {
      OwnedFd(adopting: $0)
    }
  }

  static func inUse(_ address: UnixAddress, _ detail: String) -> SocketError {
    SocketError(.addressInUse, .bind, address: AnySocketAddress(address), detail: detail)
  }
}
