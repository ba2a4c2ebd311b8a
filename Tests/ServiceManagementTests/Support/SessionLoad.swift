// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SocketEngine
import Testing

/// Clients with lasting connections: each asks repeatedly on one connection, whichever process has
/// the other end.
final class SessionLoad: Sendable {
  struct Counts: Equatable, Sendable {
    var begun = 0
    var answered = 0
    /// Connections that ended without their client's doing.
    var lost = 0
    /// Answers that are not exactly one answer to this question, such as a second answer to the
    /// previous one.
    var wrong = 0
    /// The processes that have answered.
    var servers: Set<Int32> = []
  }

  private struct Wrong: Error {}
  private struct Lost: Error {}

  private let counts = TSanVisibleMutex(Counts())
  private let task = TSanVisibleMutex<Task<Void, Never>?>(nil)
  let count: Int

  /// Starts `each` sessions at each of the two addresses.
  init(_ address: InternetAddress, _ path: UnixAddress, each: Int = 8) throws {
    count = 2 * each
    let loop = try IOLoop.currentOrShared()
    let running = Task(executorPreference: loop.taskExecutor) {
      await withDiscardingTaskGroup { group in
        for client in 0..<each {
          group.addTask {
            await self.run(client) { try await TCPStream.connect(to: address, on: loop) }
          }
          group.addTask {
            await self.run(each + client) { try await UnixStream.connect(to: path, on: loop) }
          }
        }
      }
    }
    task.withLock { $0 = running }
  }

  /// Returns when all sessions are there.
  func begin() async throws { try await until { $0.begun == self.count } }

  var current: Counts { counts.withLock { $0 } }

  /// Waits until `more` further questions have been answered.
  func answer(_ more: Int, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let wanted = current.answered + more
    try await until(sourceLocation) { $0.answered >= wanted }
  }

  /// Waits until all sessions are lost.
  func loseAll(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try await until(sourceLocation) { $0.lost == self.count }
  }

  private func until(
    _ sourceLocation: SourceLocation = #_sourceLocation, _ condition: (Counts) -> Bool
  ) async throws {
    let limit = ContinuousClock.now + .seconds(40)
    while !condition(current) {
      guard ContinuousClock.now < limit else {
        Issue.record("only \(current)", sourceLocation: sourceLocation)
        return
      }
      try await IOLoop.currentOrShared().sleep(for: .milliseconds(5))
    }
  }

  /// Ends the clients after their current question. Nothing may follow its answer.
  func stop() async -> Counts {
    let running = task.withLock { $0 }
    running?.cancel()
    await running?.value
    return current
  }

  private func run<Socket: StreamSocket>(
    _ client: Int, _ connect: @escaping @Sendable () async throws -> Socket
  ) async {
    guard let socket = try? await connect() else { return }
    do {
      try await ask("stay", socket)
      counts.withLock { $0.begun += 1 }
      var number = 0
      while !Task.isCancelled {
        number += 1
        try await ask("\(client)-\(number)", socket)
        counts.withLock { $0.answered += 1 }
        try? await socket.loop.sleep(for: .milliseconds(2))
      }
      try await Task {
        try await socket.shutdown(.sending)
        if try await socket.receiveMessage(deadline: .now + .seconds(20)) != nil { throw Wrong() }
      }.value
    } catch is Wrong {
      counts.withLock { $0.wrong += 1 }
    } catch {
      counts.withLock { $0.lost += 1 }
    }
    await socket.close()
  }

  private func ask(_ question: String, _ socket: some StreamSocket) async throws {
    // In a separate task, which continues when the clients are cancelled.
    let server = try await Task(executorPreference: socket.loop.taskExecutor) {
      try await socket.sendMessage(Array((question + "\n").utf8))
      var answer: [UInt8] = []
      while answer.last != 10 {
        guard let message = try await socket.receiveMessage(deadline: .now + .seconds(20)) else {
          throw Lost()
        }
        answer += message.payload
      }
      let parts = String(decoding: answer.dropLast(), as: UTF8.self).split(separator: " ")
      guard parts.count == 2, parts[1] == question, let server = Int32(parts[0]) else {
        throw Wrong()
      }
      return server
    }.value
    counts.withLock { _ = $0.servers.insert(server) }
  }
}
