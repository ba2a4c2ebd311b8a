// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import ServiceManagement
import Synchronization

/// A child without rights, as its parent sees it.
final class Worker: Sendable {
  /// What it says about itself.
  let facts: WorkerFacts
  private let process: ServiceProcess
  private let control: UnixSeqpacket
  private let lastNumber = Atomic<UInt64>(0)

  private init(_ facts: WorkerFacts, _ process: ServiceProcess, _ control: UnixSeqpacket) {
    self.facts = facts
    self.process = process
    self.control = control
  }

  /// Runs `body` with a new worker. The worker has ended when this returns, also if it throws or is
  /// cancelled.
  static func run<Result: Sendable>(
    probing probe: FilePath, _ body: (Worker) async throws -> Result
  ) async throws -> (result: Swift.Result<Result, any Error>, ending: ServiceProcess.Ending) {
    // This program, also if it lies in a directory that the child's user may not search.
    var command = ServiceCommand("/proc/self/exe", arguments: ["work", "--probe", probe.string])
    command.rights = geteuid() == 0 ? .user(65534, group: 65534) : .noNewPrivileges
    let (process, control) = try command.start(control: UnixSeqpacket.self)
    let outcome: Swift.Result<Result, any Error>
    do {
      let worker = Worker(try await greeting(control), process, control)
      outcome = .success(try await body(worker))
    } catch {
      outcome = .failure(error)
    }
    // A task of its own, since the end is awaited even if this task is cancelled.
    let ending = try await Task { try await end(process, control) }.value
    return (outcome, ending)
  }

  /// Has it count a file; one at a time. After an error the worker is of no more use.
  func count(
    _ file: borrowing OwnedFd, whenBegun: (Worker) throws -> Void = { _ in }
  ) async throws -> FileCount {
    let number = lastNumber.add(1, ordering: .relaxed).newValue
    try await control.sendMessage(Array("count \(number)".utf8), descriptor: file)
    guard case .begun(number) = try await Self.answer(control) else {
      throw WorkerFailure.wrongAnswer
    }
    try whenBegun(self)
    guard case .counted(number, let count) = try await Self.answer(control) else {
      throw WorkerFailure.wrongAnswer
    }
    return count
  }

  func kill() throws { try process.signal(SIGKILL) }

  private static func greeting(_ control: UnixSeqpacket) async throws -> WorkerFacts {
    var policy = ReceivePolicy.noDescriptors
    policy.onSurplus = .throwError
    try await control.setReceivePolicy(policy)
    guard case .ready(let facts) = try await answer(control) else {
      throw WorkerFailure.wrongAnswer
    }
    return facts
  }

  private static func answer(_ control: UnixSeqpacket) async throws -> Answer {
    do {
      let message = try await control.receiveMessage(deadline: .now + .seconds(60))
      guard let message else { throw WorkerFailure.ended }
      return try Answer(decoding: message.payload)
    } catch let error as SocketError where error.code == .connectionReset {
      // It has left a message unread.
      throw WorkerFailure.ended
    }
  }

  /// The worker ends when its parent has closed; one that does not is killed.
  private static func end(_ process: ServiceProcess, _ control: UnixSeqpacket) async throws
    -> ServiceProcess.Ending
  {
    await control.close()
    let limit = Task {
      try await Task.sleep(for: .seconds(10))
      try process.signal(SIGKILL)
    }
    defer { limit.cancel() }
    return try await process.end()
  }
}
