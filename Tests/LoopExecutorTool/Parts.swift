// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import MessageSockets
import Synchronization

/// Finds out where each kind of task runs.
enum Kinds {
  private actor Counter {
    func look() throws -> Bool { try isOnLoop() }
  }

  @MainActor static func find() async throws {
    MainActor.assertIsolated()
    MainActor.preconditionIsolated()
    report("main thread", "\(isMainThread())")
    report("main actor", "\(try isOnLoop())")
    report("task", "\(try await Task { try isOnLoop() }.value)")
    report("detached", "\(try await Task.detached { try isOnLoop() }.value)")
    report("concurrent", "\(try await elsewhere())")
    report("actor", "\(try await Counter().look())")
    async let child = elsewhere()
    report("child", "\(try await child)")
    report("group", "\(try await children())")
    let resumed = try await Task.detached {
      await withCheckedContinuation { waiting in DispatchQueue.global().async { waiting.resume() } }
      return try isOnLoop()
    }.value
    report("continuation", "\(resumed)")
    await withCheckedContinuation { waiting in DispatchQueue.global().async { waiting.resume() } }
    report("main thread again", "\(isMainThread())")
    report(
      "low priority", "\(try await Task.detached(priority: .background) { try isOnLoop() }.value)")
    let loop = try IOLoop()
    report(
      "own executor",
      "\(await Task.detached(executorPreference: loop.taskExecutor) { loop.isCurrent }.value)")
  }

  @concurrent private static func children() async throws -> Bool {
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<8 { group.addTask { try isOnLoop() } }
      return try await group.reduce(true) { $0 && $1 }
    }
  }

  @concurrent private static func elsewhere() async throws -> Bool {
    await Task.yield()
    return try isOnLoop()
  }
}

/// Counts the jobs that come from other threads during a thousand round trips.
enum Hops {
  private static let count = 1000

  @MainActor static func count() async throws {
    let (left, right) = try UnixSeqpacket.makePair()
    report("same loop", "\(left.loop.isCurrent && right.loop.isCurrent)")
    let before = await left.loop.statistics.hops
    let answering = Task { try await answer(right) }
    try await ask(left)
    try await answering.value
    report("on the main actor", "\(await left.loop.statistics.hops - before)")
    try await elsewhere()
    // A stream with prefetched messages, and a server.
    try await serve()
  }

  @concurrent private static func elsewhere() async throws {
    let (left, right) = try UnixStream.makePair()
    let before = await left.loop.statistics.hops
    async let asked: Void = ask(left)
    async let answered: Void = answer(right)
    _ = try await (asked, answered)
    report("elsewhere", "\(await left.loop.statistics.hops - before)")
  }

  private static func ask(_ socket: some UnixSocket) async throws {
    for _ in 0..<count {
      try await socket.sendMessage([1])
      _ = try await socket.receiveMessage()
    }
    await socket.close()
  }

  private static func answer(_ socket: some UnixSocket) async throws {
    for try await message in socket.messages { try await socket.sendMessage(message.payload) }
    await socket.close()
  }

  private static func serve() async throws {
    let listener = try TCPListener.bind(to: InternetAddress(.loopback, port: 0))
    let server = Task {
      try await listener.serve {
        for try await message in $0.messages { try await $0.sendMessage(message.payload) }
      }
    }
    var answers = 0
    for _ in 0..<20 {
      let client = try await TCPStream.connect(to: listener.address)
      try await client.sendMessage([1])
      if try await client.receiveMessage()?.payload == [1] { answers += 1 }
      await client.close()
    }
    server.cancel()
    try await server.value
    report("answers", "\(answers)")
  }
}

/// A job that blocks until jobs that were waiting behind it have run elsewhere, and how statistics
/// show it.
enum HeldUp {
  @MainActor static func find() async throws {
    let loops = try IOLoopGroup.shared().loops
    report("loops", "\(loops.count)")
    // With only one loop it would never end.
    if loops.count > 1 {
      await others(enqueuedFrom: nil)
      await others(enqueuedFrom: DispatchQueue.global())
    }
    let before = await longTurns(loops)
    await Task.detached { wait { $0 > .milliseconds(40) } }.value
    // A turn is counted at its end, and it has ended when a timer fires.
    try await Task.sleep(for: .milliseconds(1))
    report("long turns", "\(await longTurns(loops) > before)")
  }

  private static func longTurns(_ loops: [IOLoop]) async -> UInt64 {
    var sum: UInt64 = 0
    for loop in loops { sum += await loop.statistics.longTurns }
    return sum
  }

  private static func wait(until isDone: (Duration) -> Bool) {
    let start = ContinuousClock.now
    while !isDone(ContinuousClock.now - start) {}
  }

  private final class Count: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .acquiring) }
    func add() { count.add(1, ordering: .releasing) }
  }

  @concurrent private static func others(enqueuedFrom queue: DispatchQueue?) async {
    let done = Count()
    await withTaskGroup(of: Void.self) { group in
      group.addTask { wait { _ in done.value == 20 } }
      if let queue {
        await withCheckedContinuation { (waiting: CheckedContinuation<Void, Never>) in
          queue.async {
            for _ in 0..<20 { Task.detached { done.add() } }
            waiting.resume()
          }
        }
      } else {
        for _ in 0..<20 { group.addTask { done.add() } }
      }
    }
    report(queue == nil ? "behind it" : "from elsewhere", "\(done.value)")
  }
}

/// Sleeps of all kinds.
enum Sleeps {
  @concurrent static func find() async throws {
    let short = try await withThrowingTaskGroup(of: Bool.self) { group in
      for number in 0..<200 {
        group.addTask {
          let (start, time) = (ContinuousClock.now, Duration.microseconds(number * 100))
          if number % 2 == 0 {
            try await Task.sleep(for: time)
          } else {
            try await Task.sleep(for: time, clock: .suspending)
          }
          return try ContinuousClock.now - start >= time && isOnLoop()
        }
      }
      return try await group.reduce(true) { $0 && $1 }
    }
    report("slept", "\(short)")
    let long = Task { try await Task.sleep(for: .seconds(1 << 40)) }
    try await Task.sleep(until: .now - .seconds(1 << 40))
    try await Task.sleep(nanoseconds: 1)
    long.cancel()
    if case .failure(let error) = await long.result {
      report("cancelled", "\(error is CancellationError)")
    }
  }
}

/// Many tasks and actors, from loops and from other threads.
enum Crowd {
  private actor Sum {
    private(set) var value = 0
    func add(_ number: Int) { value += number }
  }

  @concurrent static func find() async throws {
    let sums = (0..<10).map { _ in Sum() }
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<5000 {
        group.addTask {
          await Task.yield()
          await sums[number % 10].add(number)
          await withCheckedContinuation { waiting in
            DispatchQueue.global().async { waiting.resume() }
          }
          await MainActor.run {}
          await sums[number % 7].add(1)
        }
      }
    }
    var total = 0
    for sum in sums { total += await sum.value }
    report("sum", "\(total == 5000 * 4999 / 2 + 5000)")
  }
}
