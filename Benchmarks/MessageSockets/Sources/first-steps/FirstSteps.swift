// SPDX-License-Identifier: Apache-2.0
internal import Dispatch
internal import Glibc
internal import Harness
internal import MessageSockets
internal import MessageSocketsExecutor

/// Measures the program that most users write first: two ends of a pair exchange messages, in tasks
/// without an executor preference.
///
/// `first-steps` runs itself in each of the forms, in turn, and prints the medians and their
/// ratios; `first-steps FORM [ROUND-TRIPS]` is one run, which prints nanoseconds of wall and of
/// processor time for a round trip.
@main
struct FirstSteps {
  enum Form: String, CaseIterable {
    /// On Swift's own thread pool.
    case naive
    /// On Swift's own thread pool, where the asking end runs on the main actor.
    case naiveMain = "naive-main"
    /// With the line `try LoopExecutor.main { … }` around it.
    case line
    /// With the line `try LoopExecutor.main { … }`, where the asking end runs on the main actor.
    case lineMain = "line-main"
    /// With the line `try LoopExecutor.install()` in front of it.
    case installed
    /// In `loop.run`.
    case run
  }

  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    guard let name = arguments.first else { return try compare() }
    guard let form = Form(rawValue: name) else {
      throw Failure("\(name) is none of \(Form.allCases.map(\.rawValue))")
    }
    let count = arguments.dropFirst().first.flatMap { Int($0) } ?? 20_000
    switch form {
    case .line: try LoopExecutor.main { try await talk(count) }
    case .lineMain: try LoopExecutor.main { try await talkOnMainActor(count) }
    case .naive, .naiveMain, .installed, .run:
      // The equivalent of an async main().
      Task { @MainActor in
        do { try await start(form, count) } catch { fatalError("\(error)") }
        exit(0)
      }
      dispatchMain()
    }
  }

  @MainActor private static func start(_ form: Form, _ count: Int) async throws {
    switch form {
    case .naiveMain: try await talkOnMainActor(count)
    case .installed:
      try LoopExecutor.install()
      try await talk(count)
    case .run: try await IOLoop().run { try await talk(count) }
    default: try await talk(count)
    }
  }

  // MARK: One run

  /// Exchanges messages between two tasks, and reports the time of a round trip.
  @concurrent static func talk(_ count: Int) async throws {
    let (left, right) = try UnixSeqpacket.makePair()
    async let asked: Void = ask(left, 1000)
    async let answered: Void = answer(right, 1000)
    _ = try await (asked, answered)
    try await report(count) {
      async let asked: Void = ask(left, count)
      async let answered: Void = answer(right, count)
      _ = try await (asked, answered)
    }
  }

  @MainActor static func talkOnMainActor(_ count: Int) async throws {
    let (left, right) = try UnixSeqpacket.makePair()
    try await report(count) { @MainActor in
      let answering = Task { @MainActor in
        for _ in 0..<count {
          guard let question = try await right.receiveMessage() else { return }
          try await right.sendMessage(question.payload)
        }
      }
      for _ in 0..<count {
        try await left.sendMessage([1, 2, 3])
        _ = try await left.receiveMessage()
      }
      try await answering.value
    }
  }

  @concurrent private static func ask(_ socket: UnixSeqpacket, _ count: Int) async throws {
    for _ in 0..<count {
      try await socket.sendMessage([1, 2, 3])
      _ = try await socket.receiveMessage()
    }
  }

  @concurrent private static func answer(_ socket: UnixSeqpacket, _ count: Int) async throws {
    for _ in 0..<count {
      guard let question = try await socket.receiveMessage() else { return }
      try await socket.sendMessage(question.payload)
    }
  }

  private static func report(_ count: Int, _ body: @Sendable () async throws -> Void) async throws {
    let (start, used) = (ContinuousClock.now, processorTime())
    try await body()
    let wall = ContinuousClock.now - start
    print(Int(wall / .nanoseconds(1)) / count, (processorTime() - used) / count)
  }

  private static func processorTime() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }
}
