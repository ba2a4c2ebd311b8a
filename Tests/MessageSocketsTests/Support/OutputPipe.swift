// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage

/// The output of a process.
final class OutputPipe {
  private let reader: OwnedFd
  private var writer: OwnedFd?

  init() throws {
    let ends = try FileDescriptor.pipe(options: .closeOnExec)
    reader = OwnedFd(adopting: ends.readEnd)
    writer = OwnedFd(adopting: ends.writeEnd)
  }

  /// Starts a process with the writing end, and closes our copy of that end.
  func feed(_ start: (Int32) throws -> ChildProcess) rethrows -> ChildProcess {
    defer { writer = nil }
    return try writer!.withUnsafeFileDescriptor { writer in try start(writer.rawValue) }
  }

  /// The complete output until the process ends or closes its end. Blocks the thread.
  func readToEnd() throws -> String { try read { _ in false } }

  /// The next line without its end, or the rest of the output if the process ends before. Blocks
  /// the thread.
  func readLine() throws -> String { try read { $0 == UInt8(ascii: "\n") } }

  private func read(until isLast: (UInt8) -> Bool) throws -> String {
    var bytes: [UInt8] = []
    var byte: [UInt8] = [0]
    while try reader.withUnsafeFileDescriptor({ reader in
      try byte.withUnsafeMutableBytes { try reader.read(into: $0) }
    }) == 1 {
      if isLast(byte[0]) { break }
      bytes.append(byte[0])
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
