// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
package import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The file that bind(2) has made for a socket. Dropping this value removes the file. Drop it
/// before the socket: while the socket is open, the file's inode number cannot be reused, so
/// comparing inode numbers is safe.
package struct SocketFile: ~Copyable, Sendable {
  /// Which process removes the file.
  package let ownership: SocketFileOwnership

  /// - Parameter path: The path to which the socket was just bound. A relative path is resolved
  ///   when the file is removed.
  package init(path: FilePath, identity: FileIdentity) {
    ownership = SocketFileOwnership(path: path, identity: identity, owner: .thisProcess)
  }

  /// Creates a value for the file of a socket that comes from another process, and that may become
  /// ours later.
  package init(_ ownership: SocketFileOwnership) { self.ownership = ownership }

  deinit { ownership.socketEnds() }

  /// Leaves the file where it is.
  package consuming func keep() { ownership.decide(.anotherProcess) }
}

/// Which process removes a socket's file at the end. That changes while the socket is open, when
/// one process hands the socket over to another. While it is undecided, no process removes the
/// file. Callable from any thread.
package final class SocketFileOwnership: Sendable {
  package enum Owner: Sendable { case thisProcess, anotherProcess, undecided }

  private struct State: ~Copyable {
    var owner: Owner
    /// The file, if its socket ended before the owner was decided.
    var left: OwnedFd?
  }

  package let identity: FileIdentity
  private let path: FilePath
  private let state: TSanVisibleMutex<State>

  package init(path: FilePath, identity: FileIdentity, owner: Owner) {
    self.path = path
    self.identity = identity
    state = TSanVisibleMutex(State(owner: owner, left: nil))
  }

  /// Sets the file's owner from now on. If the file becomes ours after its socket has ended,
  /// removes it.
  package func decide(_ owner: Owner) {
    state.withLock { state in
      state.owner = owner
      if owner == .undecided { return }
      if owner == .thisProcess, state.left != nil { remove() }
      state.left = nil
    }
  }

  /// Called when the socket ends in this process: removes the file, now or when it becomes ours.
  package func socketEnds() {
    state.withLock { state in
      switch state.owner {
      case .thisProcess: remove()
      case .anotherProcess: break
      // Pins the inode, as the socket did.
      case .undecided: state.left = opened()
      }
    }
  }

  /// Opens the file. Nil if the path now leads to another file, or no descriptor is left; the file
  /// is then never removed.
  private func opened() -> OwnedFd? {
    let options: FileDescriptor.OpenOptions = [
      .init(rawValue: cms_open_path), .noFollow, .closeOnExec,
    ]
    guard let file = try? FileDescriptor.open(path, .readOnly, options: options) else { return nil }
    let owned = OwnedFd(adopting: file)
    if FileIdentity(file) != identity { return nil }
    return owned
  }

  private func remove() {
    // The path may lead to another file by now. Linux cannot compare and remove in one step, so a
    // file that is replaced by hand between the two calls may be removed.
    if FileIdentity(path: path) != identity { return }
    // SAFETY: the string ends with a NUL, and is not used after the call.
    unsafe path.withPlatformString { path in _ = unsafe unlink(path) }
  }
}

/// Identifies a file, and tells whether it is a socket. While a file is open, no other file has its
/// numbers.
package struct FileIdentity: Equatable, Sendable {
  package let device: UInt64
  package let inode: UInt64
  package let isSocket: Bool
  package let permissions: FilePermissions

  /// The file at a path, without following a symbolic link. Nil if it cannot be determined, for
  /// example because there is none. The C name is lstat(2).
  package init?(path: FilePath) {
    var status = stat()
    // SAFETY: the string ends with a NUL; both arguments are not used after the call.
    let result = unsafe path.withPlatformString { path in unsafe lstat(path, &status) }
    guard result == 0 else { return nil }
    self.init(status)
  }

  /// The file of an open descriptor. The C name is fstat(2).
  package init?(_ descriptor: FileDescriptor) {
    var status = stat()
    // SAFETY: `status` is a local variable.
    guard unsafe fstat(descriptor.rawValue, &status) == 0 else { return nil }
    self.init(status)
  }

  /// A socket's file, with the numbers that another process has seen.
  package init(socketOnDevice device: UInt64, inode: UInt64) {
    self.device = device
    self.inode = inode
    isSocket = true
    permissions = []
  }

  private init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    isSocket = status.st_mode & S_IFMT == S_IFSOCK
    permissions = FilePermissions(rawValue: status.st_mode & 0o7777)
  }

  package static func == (left: FileIdentity, right: FileIdentity) -> Bool {
    left.device == right.device && left.inode == right.inode
  }
}
