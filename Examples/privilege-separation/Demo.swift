// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MessageSockets
import ServiceManagement

/// The parent: it opens files, and lets workers without rights read them.
struct Demo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes files that only this user may open, and has them counted by a worker.",
    discussion:
      "The last line says what was counted; the exit status is 0 only if all is as it should be."
  )

  @Option(help: "How many files.") var files = 20

  func run() async throws {
    let directory = try PrivateDirectory(files: files)
    defer { directory.remove() }
    let loop = try IOLoop()
    let before = Self.openFilesAndSockets()
    let problems = try await loop.run { [files] in
      try await Self.work(directory, files: files)
    }
    let leaked = Self.openFilesAndSockets() - before
    // There is no child: none has been left unawaited.
    let left = unsafe waitpid(-1, nil, WNOHANG) >= 0 || errno != ECHILD
    await loop.shutdown()
    for problem in problems { print("failed: \(problem)") }
    let isGood = problems.isEmpty && leaked == 0 && !left
    print(
      "\(isGood ? "ok" : "failed"): \(files) files counted, 1 cancelled, 1 worker killed, "
        + "\(leaked) descriptors leaked, \(left ? "a process" : "no process") left")
    if !isGood { throw ExitCode.failure }
  }

  @concurrent private static func work(_ directory: PrivateDirectory, files: Int) async throws
    -> [String]
  {
    var problems: [String] = []
    func check(_ isAsExpected: Bool, _ problem: String) {
      if !isAsExpected { problems.append(problem) }
    }
    let probe = directory.file(0)

    let (facts, ending) = try await Worker.run(probing: probe) { worker in
      for number in 0..<files {
        let file = try directory.open(directory.file(number))
        let count = try await worker.count(file)
        guard let expected = try Work.count(file), count == expected else {
          throw WorkerFailure.wrongAnswer
        }
      }
      return worker.facts
    }
    describe(try facts.get(), probe)
    check(try hasFewerRights(facts.get()), "the worker has rights: \(try facts.get())")
    check(ending == .exited(0), "a worker that has done its work: \(ending)")

    // A task that is cancelled while its file is read, which would take hours.
    let endless = directory.endlessFile
    let cancelled = Task {
      try await Worker.run(probing: probe) { worker in
        try await worker.count(directory.open(endless)) { _ in
          // SAFETY: the task is used only during the call.
          unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        }
      }
    }
    let first = try await cancelled.value
    check(first.result.isFailure { $0 is CancellationError }, "the cancelled task: \(first.result)")
    check(first.ending == .exited(0), "the worker of a task that was cancelled: \(first.ending)")

    // A worker that is killed while it reads.
    let second = try await Worker.run(probing: probe) { worker in
      try await worker.count(directory.open(endless)) { try $0.kill() }
    }
    check(
      second.result.isFailure { $0 as? WorkerFailure == .ended },
      "a worker that was killed: \(second.result)")
    check(second.ending == .signalled(SIGKILL), "a worker that was killed: \(second.ending)")
    return problems
  }

  private static func hasFewerRights(_ facts: WorkerFacts) -> Bool {
    let isOther = geteuid() == 0
    // 0 to 2, and the control socket.
    return facts.descriptors == 4 && facts.hasNoNewPrivileges
      && facts.opensTheFile == !isOther && facts.user == (isOther ? 65534 : geteuid())
  }

  private static func describe(_ facts: WorkerFacts, _ probe: FilePath) {
    if geteuid() != 0 {
      print("only root can give a worker another user: it keeps user \(facts.user)")
    }
    print(
      "the worker: user \(facts.user), \(facts.hasNoNewPrivileges ? "no" : "maybe") new privileges, "
        + "\(facts.descriptors) descriptors, \(facts.opensTheFile ? "can" : "cannot") open \(probe)"
    )
  }

  /// How many files and sockets are open here. (The concurrency runtime opens other descriptors
  /// when it first needs them.)
  private static func openFilesAndSockets() -> Int {
    let numbers = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    return numbers.count { number in
      let target = try? FileManager.default.destinationOfSymbolicLink(
        atPath: "/proc/self/fd/\(number)")
      return target.map { $0.hasPrefix("socket:") || $0.contains("/file-") } ?? false
    }
  }
}

extension Result {
  fileprivate func isFailure(_ isExpected: (Failure) -> Bool) -> Bool {
    if case .failure(let error) = self { isExpected(error) } else { false }
  }
}

/// A directory with files that only this process's user may open, also to look for them.
struct PrivateDirectory: Sendable {
  private let path: FilePath

  init(files: Int) throws {
    path = FilePath(
      FileManager.default.temporaryDirectory.appendingPathComponent(
        "privilege-separation-\(UUID().uuidString)"
      ).path)
    try FileManager.default.createDirectory(
      atPath: path.string, withIntermediateDirectories: false,
      attributes: [.posixPermissions: 0o700])
    for number in 0..<files {
      let text = String(repeating: "line of file \(number)\n", count: number * 100)
      try make(file(number)) { _ = try $0.writeAll(text.utf8) }
    }
    // A hole of a terabyte.
    try make(endlessFile) { try $0.resize(to: 1 << 40) }
  }

  func file(_ number: Int) -> FilePath { path.appending("file-\(number)") }
  var endlessFile: FilePath { path.appending("file-endless") }

  func open(_ file: FilePath) throws -> OwnedFd {
    OwnedFd(adopting: try FileDescriptor.open(file, .readOnly, options: .closeOnExec))
  }

  func remove() { try? FileManager.default.removeItem(atPath: path.string) }

  private func make(_ file: FilePath, _ fill: (FileDescriptor) throws -> Void) throws {
    let descriptor = try FileDescriptor.open(
      file, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
      permissions: .ownerReadWrite)
    try descriptor.closeAfter { try fill(descriptor) }
  }
}
