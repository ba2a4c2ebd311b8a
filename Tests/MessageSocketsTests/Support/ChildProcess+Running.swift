// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension ChildProcess {
  /// Runs a program concurrently with `body`, and expects that it then succeeds. If it does not, or
  /// if `body` throws, which stops the program, the test reports its output.
  ///
  /// - Parameters:
  ///   - words: The program and its arguments.
  ///   - environment: Variables to change; nil removes one.
  ///   - descriptors: The descriptors that the process gets, by number, besides its outputs 1
  ///     and 2. The caller keeps its own.
  static func run(
    _ words: [String], environment: [String: String?] = [:], descriptors: [Int32: Int32] = [:],
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (ChildProcess) async throws -> Void
  ) async throws {
    let output = try OwnedFd.memoryFile()
    let process = try output.withUnsafeFileDescriptor { output in
      let outputs: [Int32: Int32] = [1: output.rawValue, 2: output.rawValue]
      return try ChildProcess(
        words, environment: environment,
        descriptors: outputs.merging(descriptors) { _, given in given })
    }
    try await process.expectGoodEnd(
      after: { try await body(process) }, printingTo: output, sourceLocation: sourceLocation)
  }

  /// Expects that a running process, whose output goes to a file, succeeds.
  func expectGoodEnd(
    after body: () async throws -> Void, printingTo output: borrowing OwnedFd,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    do {
      try await body()
    } catch {
      kill(id, SIGKILL)
      _ = await end()
      Issue.record(
        "\(error); the other program printed: \(try output.text)", sourceLocation: sourceLocation)
      throw error
    }
    // A program that does not end is stopped when the test runs out of time.
    let status = await withTaskCancellationHandler {
      await end()
    } onCancel: {
      kill(id, SIGKILL)
    }
    let printed = try output.text
    #expect(status == 0, "the other program printed: \(printed)", sourceLocation: sourceLocation)
  }
}
