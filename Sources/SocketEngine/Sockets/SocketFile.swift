// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
package import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The file that bind(2) has made for a socket. It is removed at the end of this value, which has
/// to come before that of the socket: an open socket pins its file's inode, so that no other file
/// can have the same number meanwhile.
package struct SocketFile: ~Copyable, Sendable {
  /// Whose task it is to remove the file.
  package let ownership: SocketFileOwnership

  /// - Parameter path: where the socket was bound just now. A relative path means what it means
  ///   when the file is removed.
  package init(path: FilePath, identity: FileIdentity) {
    ownership = SocketFileOwnership(path: path, identity: identity, owner: .thisProcess)
  }

  /// A file that a socket from another process is bound to, and that becomes ours later, or not.
  package init(_ ownership: SocketFileOwnership) { self.ownership = ownership }

  deinit { ownership.socketEnds() }

  /// Leaves the file where it is.
  package consuming func keep() { ownership.decide(.anotherProcess) }
}

/// Which process removes a socket's file at the end. That changes while the socket is open when
/// another process takes the socket over, or this one takes it over from another. As long as it is
/// undecided nobody removes the file. May be used from any thread.
package final class SocketFileOwnership: Sendable {
  package enum Owner: Sendable { case thisProcess, anotherProcess, undecided }

  private struct State: ~Copyable {
    var owner: Owner
    /// The file, whose socket has ended before it was decided who removes it.
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

  /// Says whose the file is from now on. Removes it if it has become ours, and its socket has ended
  /// meanwhile.
  package func decide(_ owner: Owner) {
    state.withLock { state in
      state.owner = owner
      if owner == .undecided { return }
      if owner == .thisProcess, state.left != nil { remove() }
      state.left = nil
    }
  }

  /// The socket ends, in this process: removes the file, or does so when it becomes ours.
  package func socketEnds() {
    state.withLock { state in
      switch state.owner {
      case .thisProcess: remove()
      case .anotherProcess: break
      // Pins the inode, as the socket has done.
      case .undecided: state.left = opened()
      }
    }
  }

  /// Nil if there is another file now, or no descriptor left: then nobody removes it.
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
    // Somebody may have put another file there. Linux cannot compare and remove in one step; what
    // may slip in between is a file that was exchanged by hand.
    if FileIdentity(path: path) != identity { return }
    // SAFETY: the string ends with a NUL, and is not used after the call.
    unsafe path.withPlatformString { path in _ = unsafe unlink(path) }
  }
}

/// Which file something is, and whether it is a socket: as long as somebody has the file open, no
/// other has the same numbers.
package struct FileIdentity: Equatable, Sendable {
  package let device: UInt64
  package let inode: UInt64
  package let isSocket: Bool
  package let permissions: FilePermissions

  /// What stands at a path; a symbolic link is not followed. Nil if that cannot be told, as when
  /// there is nothing. The C name is lstat(2).
  package init?(path: FilePath) {
    var status = stat()
    // SAFETY: the string ends with a NUL; both arguments are not used after the call.
    let result = unsafe path.withPlatformString { path in unsafe lstat(path, &status) }
    guard result == 0 else { return nil }
    self.init(status)
  }

  /// The C name is fstat(2).
  package init?(_ descriptor: FileDescriptor) {
    var status = stat()
    // SAFETY: `status` is a local.
    guard unsafe fstat(descriptor.rawValue, &status) == 0 else { return nil }
    self.init(status)
  }

  /// A socket's file, as another process has seen it.
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
