// SPDX-License-Identifier: Apache-2.0
import MessageSockets

extension OwnedFd {
  /// Reads up to `count` bytes at `offset`, whatever the file's own offset is. The C name is
  /// pread(2). Empty at the end of the file.
  borrowing func read(at offset: Int64, count: Int) throws(Errno) -> [UInt8] {
    try withUnsafeFileDescriptor { (descriptor) throws(Errno) in
      do {
        // SAFETY: the buffer belongs to the new array, and as many of its bytes are initialized as
        // were read.
        return try unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
          filled = try unsafe descriptor.read(
            fromAbsoluteOffset: offset, into: UnsafeMutableRawBufferPointer(buffer))
        }
      } catch let error as Errno { throw error } catch {
        preconditionFailure("read(2) threw \(error)")
      }
    }
  }

  /// Calls `body` with the file's bytes from its start to its end, in pieces.
  borrowing func forEachPiece(_ body: ([UInt8]) throws -> Void) throws {
    var offset: Int64 = 0
    while true {
      let piece = try read(at: offset, count: 64 * 1024)
      if piece.isEmpty { return }
      try body(piece)
      offset += Int64(piece.count)
    }
  }

  /// Whether both files have equal contents.
  borrowing func hasSameBytes(as other: borrowing OwnedFd) throws -> Bool {
    var offset: Int64 = 0
    while true {
      let mine = try read(at: offset, count: 64 * 1024)
      let theirs = try other.read(at: offset, count: 64 * 1024)
      guard mine == theirs else { return false }
      if mine.isEmpty { return true }
      offset += Int64(mine.count)
    }
  }
}
