// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage

/// A directory whose files, and no others, may be opened by name.
///
/// Names are resolved component by component, each relative to the previous one and none through a
/// symbolic link. So no name leads out of the directory, even if files are renamed in the meantime.
struct ServedDirectory: ~Copyable, Sendable {
  private let root: OwnedFd

  /// - Throws: `Errno` if there is no such directory.
  init(_ path: FilePath) throws {
    root = OwnedFd(
      adopting: try FileDescriptor.open(path, .readOnly, options: [.directory, .closeOnExec]))
  }

  /// Opens a regular file for reading.
  ///
  /// - Throws: The ``Status`` with which to refuse the request.
  borrowing func open(_ name: String) throws(Status) -> OwnedFd {
    // PATH_MAX. Clients choose the length of their names, so it must be limited.
    guard name.utf8.count < 4096, !name.utf8.contains(0) else { throw .malformedRequest }
    let components = name.split(separator: "/")
    guard !name.hasPrefix("/"), !components.contains("..") else { throw .outsideRoot }

    var entry = try Self.open(".", in: root)
    for component in components {
      guard try Self.type(of: entry) == .directory else { throw .notFound }
      entry = try Self.open(String(component), in: entry)
    }
    guard try Self.type(of: entry) == .regular else { throw .notAFile }
    return entry
  }

  private static func open(_ component: String, in directory: borrowing OwnedFd) throws(Status)
    -> OwnedFd
  {
    // Non-blocking, because opening a FIFO would wait for a writer. The flag does not affect
    // regular files.
    let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC
    // SAFETY: the name is our own string, which lives until the call returns. Nothing else owns the
    // new descriptor.
    let number = directory.withUnsafeFileDescriptor { directory in
      unsafe openat(directory.rawValue, component, flags)
    }
    guard number >= 0 else { throw Status(Errno(rawValue: errno)) }
    return OwnedFd(adopting: FileDescriptor(rawValue: number))
  }

  private static func type(of file: borrowing OwnedFd) throws(Status) -> FileType {
    do {
      return try file.withUnsafeFileDescriptor { (descriptor) throws(Errno) in
        try descriptor.stat().type
      }
    } catch { throw Status(error) }
  }
}

extension Status {
  /// The status for a file that could not be opened.
  fileprivate init(_ errno: Errno) {
    switch errno {
    case .noSuchFileOrDirectory, .notDirectory: self = .notFound
    case .tooManySymbolicLinkLevels: self = .symbolicLink
    case .permissionDenied, .notPermitted: self = .notPermitted
    case .noSuchAddressOrDevice: self = .notAFile
    case .fileNameTooLong: self = .malformedRequest
    case .tooManyOpenFiles, .tooManyOpenFilesInSystem: self = .outOfDescriptors
    default: self = .failed
    }
  }
}
