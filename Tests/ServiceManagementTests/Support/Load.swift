// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SocketEngine
import SystemPackage
import Testing

/// Clients that connect, ask, and read the answer to its end, on one connection after the other.
final class Load: Sendable {
  struct Counts: Equatable, Sendable {
    var answered = 0
    /// No process listened.
    var refused = 0
    /// The connection was established, but ended before the complete answer.
    var lost = 0
    /// An answer that is not exactly one answer to this question.
    var wrong = 0
    /// The processes that have answered.
    var servers: Set<Int32> = []
    var slowest = Duration.zero
  }

  private enum Place: Sendable {
    case internet(InternetAddress)
    case unix(UnixAddress)
  }

  private let counts = TSanVisibleMutex(Counts())
  private let place: Place
  private let task = TSanVisibleMutex<Task<Void, Never>?>(nil)

  convenience init(_ address: InternetAddress, clients: Int = 8) throws {
    try self.init(.internet(address), clients)
  }

  convenience init(_ address: UnixAddress, clients: Int = 8) throws {
    try self.init(.unix(address), clients)
  }

  private init(_ place: Place, _ clients: Int) throws {
    self.place = place
    let loop = try IOLoop.currentOrShared()
    let running = Task(executorPreference: loop.taskExecutor) {
      await withDiscardingTaskGroup { group in
        for client in 0..<clients { group.addTask { await self.run(client, loop) } }
      }
    }
    task.withLock { $0 = running }
  }

  var current: Counts { counts.withLock { $0 } }

  /// Waits until `more` further questions have been answered.
  func answer(_ more: Int, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let wanted = current.answered + more
    let limit = ContinuousClock.now + .seconds(40)
    while current.answered < wanted {
      guard ContinuousClock.now < limit else {
        Issue.record("only \(current) of \(wanted)", sourceLocation: sourceLocation)
        return
      }
      try await IOLoop.currentOrShared().sleep(for: .milliseconds(5))
    }
  }

  /// Ends the clients after the answer to their current question.
  func stop() async -> Counts {
    let running = task.withLock { $0 }
    running?.cancel()
    await running?.value
    return current
  }

  private func run(_ client: Int, _ loop: IOLoop) async {
    var number = 0
    while !Task.isCancelled {
      number += 1
      let question = "\(client)-\(number)"
      let start = ContinuousClock.now
      // In a separate task, which continues when the clients are cancelled.
      let outcome = await Task(executorPreference: loop.taskExecutor) {
        try await self.ask(question, loop)
      }.result
      let time = ContinuousClock.now - start
      counts.withLock { counts in
        counts.slowest = max(counts.slowest, time)
        switch outcome {
        case .success(let server?):
          counts.answered += 1
          counts.servers.insert(server)
        case .success(nil): counts.wrong += 1
        case .failure(let error as SocketError)
        where error.code == .connectionRefused || error.code == .notFound:
          counts.refused += 1
        case .failure: counts.lost += 1
        }
      }
      if case .failure = outcome { try? await loop.sleep(for: .milliseconds(5)) }
    }
  }

  private struct Lost: Error {}

  private func ask(_ question: String, _ loop: IOLoop) async throws -> Int32? {
    let limit = Deadline.now + .seconds(20)
    switch place {
    case .internet(let address):
      let socket = try await loop.withDeadline(limit) {
        try await TCPStream.connect(to: address, on: loop)
      }
      return try await Self.ask(question, socket)
    case .unix(let address):
      let socket = try await loop.withDeadline(limit) {
        try await UnixStream.connect(to: address, on: loop)
      }
      return try await Self.ask(question, socket)
    }
  }

  /// Returns the process that has answered; nil if the bytes are not the expected answer.
  private static func ask(_ question: String, _ socket: some StreamSocket) async throws -> Int32? {
    var answer: [UInt8] = []
    do {
      try await socket.sendMessage(Array((question + "\n").utf8))
      while let message = try await socket.receiveMessage(deadline: .now + .seconds(20)) {
        answer += message.payload
      }
    } catch {
      await socket.close()
      throw error
    }
    await socket.close()
    guard answer.last == 10 else { throw Lost() }
    let parts = String(decoding: answer.dropLast(), as: UTF8.self).split(separator: " ")
    guard parts.count == 2, parts[1] == question else { return nil }
    return Int32(parts[0])
  }
}
