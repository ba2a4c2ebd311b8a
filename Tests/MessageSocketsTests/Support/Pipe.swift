// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

/// A pipe that proves which copies of its ends are open: the reading end is at its end if and only
/// if every copy of the writing end is closed.
final class Pipe {
  private let reader: OwnedFd
  private var ownWriter: OwnedFd?

  init() throws {
    let ends = try FileDescriptor.pipe(options: .closeOnExec)
    reader = OwnedFd(adopting: ends.readEnd)
    ownWriter = OwnedFd(adopting: ends.writeEnd)
  }

  /// Takes the writing end, once; this object keeps no copy.
  func takeWriter() -> OwnedFd { ownWriter.take()! }

  /// Passes the number of the reading end, for a process to inherit.
  func withReader<R>(_ body: (Int32) throws -> R) rethrows -> R {
    try reader.withUnsafeFileDescriptor { try body($0.rawValue) }
  }

  func duplicateWriter() throws -> OwnedFd { try ownWriter!.duplicate() }
  func closeWriter() { ownWriter = nil }

  /// Whether all writing ends are closed now.
  var isAtEnd: Bool { isAtEnd(waiting: 0) }

  /// Whether all writing ends close within ten seconds; for ends that another thread closes.
  var comesToAnEnd: Bool { isAtEnd(waiting: 10_000) }

  private func isAtEnd(waiting milliseconds: Int32) -> Bool {
    reader.withUnsafeFileDescriptor { descriptor in
      var wanted = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
      return poll(&wanted, 1, milliseconds) == 1 && wanted.revents & Int16(POLLHUP) != 0
    }
  }
}

extension OwnedFd {
  /// The identity of the open file: device and inode.
  var identity: [UInt64] {
    withUnsafeFileDescriptor { descriptor in
      var status = stat()
      guard fstat(descriptor.rawValue, &status) == 0 else { return [] }
      return [UInt64(status.st_dev), UInt64(status.st_ino)]
    }
  }

  /// The identity as text.
  var identityText: String { identity.map { "\($0)" }.joined(separator: ":") }

  var isCloseOnExec: Bool {
    withUnsafeFileDescriptor { fcntl($0.rawValue, F_GETFD) & FD_CLOEXEC != 0 }
  }

  static func openFile(_ path: String, _ flags: Int32 = O_RDONLY) throws -> OwnedFd {
    let number = open(path, flags | O_CLOEXEC)
    try #require(number >= 0)
    return OwnedFd(adopting: FileDescriptor(rawValue: number))
  }

  /// A nameless file.
  private static func nameless() throws -> OwnedFd {
    var name = Array("/tmp/message-sockets-XXXXXX".utf8CString)
    let number = mkstemp(&name)
    try #require(number >= 0)
    unlink(name)
    _ = fcntl(number, F_SETFD, FD_CLOEXEC)
    return OwnedFd(adopting: FileDescriptor(rawValue: number))
  }

  /// A nameless file that contains its number.
  static func numbered(_ number: Int) throws -> OwnedFd {
    let file = try nameless()
    try file.withUnsafeFileDescriptor { descriptor in
      try withUnsafeBytes(of: number) { _ = try descriptor.writeAll(toAbsoluteOffset: 0, $0) }
    }
    return file
  }

  /// A nameless file that contains `text`.
  static func temporary(_ text: String) throws -> OwnedFd {
    let file = try nameless()
    try file.withUnsafeFileDescriptor { _ = try $0.writeAll(toAbsoluteOffset: 0, Array(text.utf8)) }
    return file
  }

  /// The first kilobyte of the file.
  var text: String {
    get throws {
      try withUnsafeFileDescriptor { descriptor in
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = try bytes.withUnsafeMutableBytes {
          try descriptor.read(fromAbsoluteOffset: 0, into: $0)
        }
        return String(decoding: bytes[..<count], as: UTF8.self)
      }
    }
  }

  /// The number that ``numbered(_:)`` wrote.
  var number: Int {
    get throws {
      try withUnsafeFileDescriptor { descriptor in
        var number = -1
        try withUnsafeMutableBytes(of: &number) {
          _ = try descriptor.read(fromAbsoluteOffset: 0, into: $0)
        }
        return number
      }
    }
  }
}
