// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import Glibc
internal import SocketEngine
internal import SystemPackage

/// A file at which a socket cannot be bound, and which may have been left by one that is dead.
enum StaleFile {
  /// Removes the file at `path` if it is a dead socket's, and binds there.
  ///
  /// - Throws: ``SocketError``: `addressInUse`, with the reason why the file was left alone;
  ///   `notPermitted`.
  static func replace(
    _ path: FilePath, _ address: UnixAddress, binding: () throws(SocketError) -> Void
  ) throws(SocketError) {
    let lock = try PathLock(address)
    defer { withExtendedLifetime(lock) {} }
    try remove(path, address)
    try binding()
  }

  private static func remove(_ path: FilePath, _ address: UnixAddress) throws(SocketError) {
    // Open, so that no other file can get its number while we look.
    guard let file = open(path) else { return }
    let identity = file.withUnsafeFileDescriptor { FileIdentity($0) }
    guard let identity, identity.isSocket else {
      throw inUse(address, "what stands there is no socket: move it away, or choose another path")
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

  /// Connects a datagram socket there, which the owner of the file does not notice: the kernel says
  /// `EPROTOTYPE` if a socket of another type is bound to it, also before it listens, and
  /// `ECONNREFUSED` only if none is.
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
