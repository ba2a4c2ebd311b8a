// SPDX-License-Identifier: Apache-2.0
import CTestDescriptors
import Glibc
import MessageSockets
import SharedMemory
import SystemPackage
import Testing

@testable import SocketEngine

/// Runs `body`, and checks that afterwards the set of open descriptors is as before, and no memory
/// file is mapped.
func withMemoryOracle(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async throws {
  try await withDescriptorOracle(sourceLocation: sourceLocation) { _ in try await body() }
  let mapped = try mappedMemoryFiles()
  #expect(mapped == [], "memory that is still mapped", sourceLocation: sourceLocation)
}

/// The lines of /proc/self/maps that describe memory files.
func mappedMemoryFiles() throws -> [Substring] {
  let file = try OwnedFd.openFile("/proc/self/maps")
  var text: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = try file.withUnsafeFileDescriptor { file in
      try piece.withUnsafeMutableBytes { try file.read(into: $0) }
    }
    if count == 0 { break }
    text += piece[..<count]
  }
  // The driver's ring, and other mappings of the runtime, have other names.
  return String(decoding: text, as: UTF8.self).split(separator: "\n").filter {
    $0.contains("/memfd:")
  }
}

/// The error that `body` throws; nil if it throws none.
func memoryError(_ body: () throws -> Void) -> MemoryError? {
  do {
    try body()
    return nil
  } catch {
    return error as? MemoryError
  }
}

/// The error that a body throws that takes over a descriptor; nil if it throws none.
func memoryError(_ file: consuming OwnedFd, _ body: (consuming OwnedFd) throws -> Void)
  -> MemoryError?
{
  do {
    try body(file)
    return nil
  } catch {
    return error as? MemoryError
  }
}

extension MemoryError {
  /// The error with which a file is refused; nil if it is mapped.
  static func of(
    _ file: consuming OwnedFd, requiring seals: FileSeals = [], atMost limit: Int = 100
  ) -> MemoryError? {
    memoryError(file) { file in
      _ = try SealedMemory(adopting: file, requiring: seals, atMost: limit)
    }
  }

  /// The error with which sealing fails.
  static func ofSealing(_ memory: consuming MutableMemory) -> MemoryError? {
    do throws(MemoryError) {
      _ = try memory.sealed()
      return nil
    } catch {
      return error
    }
  }
}

func fill(_ memory: inout MutableMemory, _ byte: (Int) -> UInt8) {
  var bytes = memory.bytes
  bytes.withUnsafeMutableBytes { for index in $0.indices { $0[index] = byte(index) } }
}

func isFilled(_ bytes: RawSpan, _ byte: (Int) -> UInt8) -> Bool {
  bytes.withUnsafeBytes { bytes in bytes.indices.allSatisfy { bytes[$0] == byte($0) } }
}

extension OwnedFd {
  /// A memory file of `size` bytes.
  static func memory(of size: Int64, sealed seals: Int32) throws -> OwnedFd {
    let file = try memoryFile()
    file.withUnsafeFileDescriptor {
      #expect(ftruncate($0.rawValue, off_t(size)) == 0)
      #expect(ctd_add_seals($0.rawValue, seals) == 0)
    }
    return file
  }

  /// Opens the memory again, as another open file.
  func reopened(_ flags: Int32) throws -> OwnedFd {
    try .openFile("/proc/self/fd/\(withUnsafeFileDescriptor { $0.rawValue })", flags)
  }

  var status: stat {
    withUnsafeFileDescriptor {
      var status = stat()
      fstat($0.rawValue, &status)
      return status
    }
  }

  var size: Int { Int(status.st_size) }
  var mode: UInt32 { status.st_mode }

  var shownName: String {
    withUnsafeFileDescriptor { openDescriptors()[$0.rawValue] ?? "" }
  }
}

/// The machine's pool of 2 MiB huge pages.
enum HugePages {
  private static let control = "/proc/sys/vm/nr_hugepages"
  private static let directory = "/sys/kernel/mm/hugepages/hugepages-2048kB"

  static var canBeHad: Bool { access(control, W_OK) == 0 && access(directory, F_OK) == 0 }

  /// The size of a file that cannot fit into the pool, whatever else uses the pool.
  static var tooMany: Int {
    get throws {
      let pages =
        try number(in: "\(directory)/nr_hugepages")
        + number(in: "\(directory)/nr_overcommit_hugepages")
      return (pages + 1) << 21
    }
  }

  /// Runs `body` with `count` more pages in the pool. Other processes that do this wait, so that
  /// each restores the pool.
  static func withPool(of count: Int, _ body: () async throws -> Void) async throws {
    let lock = try OwnedFd.openFile(control)
    lock.withUnsafeFileDescriptor { while flock($0.rawValue, LOCK_EX) != 0 && errno == EINTR {} }
    defer { _ = lock.withUnsafeFileDescriptor { flock($0.rawValue, LOCK_UN) } }
    let before = try number(in: control)
    try set(before + count)
    do { try await body() } catch {
      try set(before)
      throw error
    }
    try set(before)
  }

  private static func number(in path: String) throws -> Int {
    Int(try textOfProcessFile(path).filter(\.isNumber)) ?? 0
  }

  private static func set(_ count: Int) throws {
    let file = try FileDescriptor.open(control, .writeOnly, options: .closeOnExec)
    _ = try file.closeAfter { try file.writeAll("\(count)".utf8) }
  }
}

struct NoDescriptor: Error {}

extension ReceivedMessage {
  /// Takes the first descriptor, which must be there.
  func requireDescriptor() throws -> OwnedFd {
    guard let descriptor = takeDescriptor() else { throw NoDescriptor() }
    return descriptor
  }
}
