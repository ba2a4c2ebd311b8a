// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage

extension OwnedFd {
  /// The reading end of a pipe that contains the numbers of a line and a message. The other end is
  /// closed.
  static func numbered(_ line: UInt64, _ number: UInt64) throws -> OwnedFd {
    let ends = try FileDescriptor.pipe(options: .closeOnExec)
    defer { try? ends.writeEnd.close() }
    let reader = OwnedFd(adopting: ends.readEnd)
    try withUnsafeBytes(of: (line, number)) { _ = try ends.writeEnd.writeAll($0) }
    return reader
  }

  /// The numbers that ``numbered(_:_:)`` wrote; nil if it is not such a pipe, if they were taken
  /// before, or if it is not close-on-exec.
  func takeNumbers() -> (line: UInt64, number: UInt64)? {
    withUnsafeFileDescriptor { descriptor in
      var numbers: (UInt64, UInt64) = (0, 0)
      let count = try? withUnsafeMutableBytes(of: &numbers) { try descriptor.read(into: $0) }
      guard count == 16, fcntl(descriptor.rawValue, F_GETFD) & FD_CLOEXEC != 0 else { return nil }
      return (numbers.0, numbers.1)
    }
  }
}
