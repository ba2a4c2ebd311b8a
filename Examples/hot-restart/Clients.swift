// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Synchronization

/// The clients' results.
struct Counts: Sendable {
  var answered = 0
  /// No process listened.
  var refused = 0
  /// The connection ended before the answer.
  var lost = 0
  /// Not exactly one answer to this question.
  var wrong = 0
  var slowest = Duration.zero
  /// The longest times without a new connection, and without an answer.
  var connecting = Pauses()
  var answering = Pauses()
  /// The processes that have answered.
  var servers: Set<Substring> = []

  var failures: Int { refused + lost + wrong }

  func report(_ replacements: Int, _ time: Duration) -> String {
    let seconds = Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18
    let slowest =
      Double(slowest.components.seconds) * 1e3 + Double(slowest.components.attoseconds) / 1e15
    return """
      \(replacements) replacements in \(Int(seconds * 10) / 10) s, \(servers.count) processes
      \(answered) connections answered, \(Int(Double(answered) / seconds)) a second, the slowest after \(Int(slowest)) ms
      longest time without a new connection: \(connecting)
      longest time in which no process has answered one: \(answering)
      \(refused) refused, \(lost) lost, \(wrong) answered wrongly or twice
      """
  }
}

/// The longest pauses between events, separately for the times when the server was being replaced.
struct Pauses: Sendable, CustomStringConvertible {
  private var last: ContinuousClock.Instant?
  private var isReplacing = false
  private(set) var replacing = Duration.zero
  private(set) var otherwise = Duration.zero

  mutating func event(at now: ContinuousClock.Instant) {
    defer { last = now }
    guard let last else { return }
    if isReplacing {
      replacing = max(replacing, now - last)
    } else {
      otherwise = max(otherwise, now - last)
    }
  }

  /// Notes the beginning or end of a replacement. A pause that extends into a replacement counts
  /// for the replacement.
  mutating func replace(_ begins: Bool, at now: ContinuousClock.Instant) {
    if !begins, let last { replacing = max(replacing, now - last) }
    isReplacing = begins
  }

  var description: String {
    "\(Self.milliseconds(replacing)) ms while replaced, \(Self.milliseconds(otherwise)) ms otherwise"
  }

  private static func milliseconds(_ time: Duration) -> Double {
    (time / .milliseconds(1) * 10).rounded() / 10
  }
}

/// Clients that connect, ask, and read the answer until the connection ends, repeatedly.
final class Clients: Sendable {
  private let state = Mutex((counts: Counts(), task: Task<Void, Never>?.none))
  private let address: InternetAddress

  init(asking address: InternetAddress, count: Int) throws {
    self.address = address
    let loop = try IOLoop.currentOrShared()
    let task = Task(executorPreference: loop.taskExecutor) {
      await withDiscardingTaskGroup { group in
        for client in 0..<count { group.addTask { await self.askAgainAndAgain(client, loop) } }
      }
    }
    state.withLock { $0.task = task }
  }

  /// Waits until `more` further questions were answered; fails after 30 seconds.
  func answer(_ more: Int) async throws {
    let wanted = state.withLock { $0.counts.answered } + more
    let deadline = ContinuousClock.now + .seconds(30)
    while state.withLock({ $0.counts.answered }) < wanted {
      guard ContinuousClock.now < deadline else {
        throw Failure("\(more) questions were not answered within 30 seconds")
      }
      try await Task.sleep(for: .milliseconds(2))
    }
  }

  /// Notes that a replacement begins or has ended.
  func replace(_ begins: Bool) {
    state.withLock { state in
      let now = ContinuousClock.now
      state.counts.connecting.replace(begins, at: now)
      state.counts.answering.replace(begins, at: now)
    }
  }

  /// Ends the clients after the answers to their last questions.
  func stop() async -> Counts {
    let task = state.withLock { $0.task }
    task?.cancel()
    await task?.value
    return state.withLock { $0.counts }
  }

  private func askAgainAndAgain(_ client: Int, _ loop: IOLoop) async {
    var number = 0
    while !Task.isCancelled {
      number += 1
      let question = "\(client)-\(number)"
      let start = ContinuousClock.now
      // A separate task, which is not cancelled when the clients end.
      let outcome = await Task(executorPreference: loop.taskExecutor) {
        try await self.ask(question, loop)
      }.result
      count(outcome, question, ContinuousClock.now - start)
    }
  }

  private func ask(_ question: String, _ loop: IOLoop) async throws -> String {
    let socket = try await TCPStream.connect(to: address, on: loop)
    state.withLock { $0.counts.connecting.event(at: .now) }
    var answer: [UInt8] = []
    do {
      try await socket.sendMessage(Array((question + "\n").utf8))
      while let message = try await socket.receiveMessage(deadline: .now + .seconds(30)) {
        answer += message.payload
      }
    } catch {
      await socket.close()
      throw error
    }
    await socket.close()
    return String(decoding: answer, as: UTF8.self)
  }

  private func count(_ outcome: Result<String, any Error>, _ question: String, _ time: Duration) {
    state.withLock { state in
      state.counts.slowest = max(state.counts.slowest, time)
      switch outcome {
      case .success(let answer):
        let words = answer.split(whereSeparator: \.isWhitespace)
        if words.isEmpty {
          state.counts.lost += 1
        } else if words.count == 2, words[1] == question, answer.hasSuffix("\n") {
          state.counts.answered += 1
          state.counts.answering.event(at: .now)
          state.counts.servers.insert(words[0])
        } else {
          state.counts.wrong += 1
        }
      case .failure(let error as SocketError) where error.code == .connectionRefused:
        state.counts.refused += 1
      case .failure: state.counts.lost += 1
      }
    }
  }
}
