internal import Ancillary
internal import Glibc
internal import SocketEngine
internal import SystemPackage

/// The right to replace the file at a path, among all processes that ask for it: a file beside it, with the suffix `.lock`, that is locked by flock(2) and removed at the end of this value. One
/// that a killed process has left is used again.
struct PathLock: ~Copyable {
  private let path: FilePath
  private let file: OwnedFd

  /// Does not wait.
  ///
  /// - Throws: ``SocketError``: `addressInUse` if another process has the lock; `notPermitted`.
  init(_ address: UnixAddress) throws(SocketError) {
    // SAFETY: the array ends with a NUL.
    let path = unsafe FilePath(
      platformString: (address.nameBytes + Array(".lock".utf8)).map { CInterop.PlatformChar(bitPattern: $0) } + [0])
    let file: OwnedFd
    do {
      let options: FileDescriptor.OpenOptions = [.create, .closeOnExec, .noFollow, .nonBlocking]
      file = OwnedFd(adopting: try FileDescriptor.open(path, .readWrite, options: options, permissions: .ownerReadWrite))
    } catch {
      throw SocketError(
        result: -((error as? Errno)?.rawValue ?? EIO), .bind, address: AnySocketAddress(address), detail: "the lock file \(path)")
    }
    guard file.withUnsafeFileDescriptor({ flock($0.rawValue, LOCK_EX | LOCK_NB) == 0 && Self.isLinked($0) }) else {
      throw StaleFile.inUse(address, "another process is replacing it, with the lock file \(path)")
    }
    self.path = path
    self.file = file
  }

  deinit {
    // While it is locked: whoever has opened it meanwhile, and locks it next, finds that it has no name any more.
    // SAFETY: the string ends with a NUL, and is not used after the call.
    unsafe path.withPlatformString { path in _ = unsafe unlink(path) }
  }

  private static func isLinked(_ descriptor: FileDescriptor) -> Bool {
    var status = stat()
    // SAFETY: `status` is a local.
    return unsafe fstat(descriptor.rawValue, &status) == 0 && status.st_nlink > 0
  }
}
