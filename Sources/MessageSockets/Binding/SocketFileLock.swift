// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import SocketEngine
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A lock between processes for replacing the file at a path: a file beside it with our suffix,
/// locked with flock(2) and removed at the end of this value. A lock file left behind by a killed
/// process is reused. A file that does not look like a lock file is left alone.
struct SocketFileLock: ~Copyable {
  /// The suffix of the lock file. PostgreSQL and others use `.lock` for files beside their sockets.
  static let suffix = ".message-sockets-lock"

  private let path: FilePath
  private let file: OwnedFd
  private let identity: FileIdentity

  /// Takes the lock without waiting.
  ///
  /// - Throws: ``SocketError``: `addressInUse` if another process holds the lock or the file at its
  ///   path is not a lock file; `notPermitted`.
  init(_ address: UnixAddress) throws(SocketError) {
    // SAFETY: the array ends with a NUL.
    let path = unsafe FilePath(
      platformString: (address.nameBytes + Array(Self.suffix.utf8)).map {
        CInterop.PlatformChar(bitPattern: $0)
      } + [0])
    let file: OwnedFd
    do {
      let options: FileDescriptor.OpenOptions = [.create, .closeOnExec, .noFollow, .nonBlocking]
      file = OwnedFd(
        adopting: try FileDescriptor.open(
          path, .readWrite, options: options, permissions: .ownerReadWrite))
    } catch {
      throw SocketError(
        result: -((error as? Errno)?.rawValue ?? EIO), .bind, address: AnySocketAddress(address),
        detail: "the lock file \(path)")
    }
    guard let status = file.withUnsafeFileDescriptor({ Self.status(of: $0) }),
      let identity = file.withUnsafeFileDescriptor({ FileIdentity($0) }),
      status.st_mode & S_IFMT == S_IFREG, status.st_size == 0
    else {
      throw StaleSocketFile.inUse(
        address, "\(path), which is to be the lock file, is not an empty file: move it away")
    }
    guard
      file.withUnsafeFileDescriptor({
        flock($0.rawValue, LOCK_EX | LOCK_NB) == 0 && Self.status(of: $0)?.st_nlink ?? 0 > 0
      })
    else {
      throw StaleSocketFile.inUse(
        address, "another process is replacing it, with the lock file \(path)")
    }
    self.path = path
    self.file = file
    self.identity = identity
  }

  deinit {
    if FileIdentity(path: path) != identity { return }
    // The file is removed while it is locked: a process that has opened it and locks it next finds
    // that the file has no name, and gives up.
    unsafe path.withPlatformString { path in _ = unsafe unlink(path) }
  }

  private static func status(of descriptor: FileDescriptor) -> stat? {
    var status = stat()
    // SAFETY: `status` is a local variable.
    return unsafe fstat(descriptor.rawValue, &status) == 0 ? status : nil
  }
}
