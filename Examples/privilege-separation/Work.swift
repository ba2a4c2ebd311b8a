// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets
import ServiceManagement

/// The child: it can open nothing that matters, and works with what its parent sends.
struct Work: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Counts the files that the parent sends. Started by the parent.",
    shouldDisplay: false)

  @Option(help: "A file that it should not be able to open.") var probe: String

  func run() async throws {
    let facts = try ownFacts()
    let control: UnixSeqpacket = try Activation.takeControlSocket()
    // Files to read from, one a message: anything else is a fault of the parent.
    var policy = ReceivePolicy(
      maximumDescriptorsPerMessage: 1, allowed: [.regularFile.forbidding(.write)])
    policy.onSurplus = .throwError
    try await control.setReceivePolicy(policy)
    try await control.sendMessage(Answer.ready(facts).encoded)
    try await withThrowingDiscardingTaskGroup { group in
      for try await request in control.messages {
        let number = try Self.number(request)
        try await control.sendMessage(Answer.begun(number).encoded)
        group.addTask {
          // Nil if the parent has closed the socket meanwhile.
          guard let count = try await Self.count(request) else { return }
          try await control.sendMessage(Answer.counted(number, count).encoded)
        }
      }
      group.cancelAll()
    }
    await control.close()
  }

  private static func number(_ request: ReceivedMessage) throws -> UInt64 {
    let words = String(decoding: request.payload, as: UTF8.self).split(separator: " ")
    guard words.count == 2, words[0] == "count", let number = UInt64(words[1]) else {
      throw WorkerFailure.wrongAnswer
    }
    return number
  }

  /// Reads off the loop. Returns nil if it is cancelled.
  @concurrent static func count(_ request: ReceivedMessage) async throws -> FileCount? {
    guard let file = request.takeDescriptor() else { throw WorkerFailure.wrongAnswer }
    return try count(file)
  }

  static func count(_ file: borrowing OwnedFd) throws -> FileCount? {
    var count = FileCount()
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while !Task.isCancelled {
      let length = try file.withUnsafeFileDescriptor { file in
        // SAFETY: the buffer is used only during the call.
        try unsafe buffer.withUnsafeMutableBytes { bytes in
          try unsafe file.read(fromAbsoluteOffset: Int64(count.bytes), into: bytes)
        }
      }
      if length == 0 { return count }
      count.add(buffer[..<length])
    }
    return nil
  }

  private func ownFacts() throws -> WorkerFacts {
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let directory = "/proc/self/fd"
    // Without the one with which the directory was read, which is closed by now, and those of
    // Swift's thread pool.
    let targets = try FileManager.default.contentsOfDirectory(atPath: directory).compactMap {
      try? FileManager.default.destinationOfSymbolicLink(atPath: "\(directory)/\($0)")
    }.filter { !$0.hasPrefix("anon_inode:") }
    let probed = try? FileDescriptor.open(FilePath(probe), .readOnly, options: .closeOnExec)
    try probed?.close()
    return WorkerFacts(
      user: geteuid(), hasNoNewPrivileges: status.contains("NoNewPrivs:\t1"),
      descriptors: targets.count, opensTheFile: probed != nil)
  }
}
