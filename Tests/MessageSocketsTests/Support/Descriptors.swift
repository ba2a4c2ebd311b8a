// SPDX-License-Identifier: Apache-2.0
import CTestDescriptors
import Glibc
import MessageSockets
import SystemPackage
import Testing

/// Descriptors of all kinds that peers may send.
extension OwnedFd {
  static func made(_ number: Int32) throws -> OwnedFd {
    try #require(number >= 0, "errno \(errno)")
    return OwnedFd(adopting: FileDescriptor(rawValue: number))
  }

  static func memoryFile(sealed seals: Int32? = nil) throws -> OwnedFd {
    let file = try made(ctd_memory_file())
    if let seals {
      file.withUnsafeFileDescriptor { #expect(ctd_add_seals($0.rawValue, seals) == 0) }
    }
    return file
  }

  static func socket(_ family: Int32, _ type: Int32) throws -> OwnedFd {
    try made(Glibc.socket(family, type | 0o2000000, 0))
  }

  static func event() throws -> OwnedFd { try made(ctd_event()) }

  static func pathOnly(_ path: String) throws -> OwnedFd { try openFile(path, 0x200000) }

  /// A FIFO that is open for reading and will never have a writer.
  static func fifo() throws -> OwnedFd {
    var template = Array("/tmp/message-sockets-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
    try #require(made)
    let directory = String(
      decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { rmdir(directory) }
    try #require(mkfifo(directory + "/fifo", 0o600) == 0)
    defer { unlink(directory + "/fifo") }
    return try openFile(directory + "/fifo", O_RDONLY | O_NONBLOCK)
  }
}
