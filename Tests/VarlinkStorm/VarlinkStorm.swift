// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import MessageSocketsTesting
import SeededRandom
import Synchronization
import SystemPackage
import Varlink

/// `make storm-varlink`: calls from many tasks on few connections, cancelled, expired and abandoned
/// at random.
///
/// Each reply is compared with its call, each descriptor with its reply, and at the end the open
/// descriptors with those that were open before.
@main
enum VarlinkStorm {
  static func main() async {
    let words = CommandLine.arguments.dropFirst()
    let seconds = words.first.flatMap { Int($0) } ?? 60
    let seed = words.dropFirst().first.flatMap { UInt64($0) } ?? .random(in: 1...UInt64(Int64.max))
    try? await Task.sleep(for: .milliseconds(1))
    report("Seed \(seed)")
    var failures = 0
    for driver in [IOLoop.DriverChoice.ioUring, .epoll] {
      do {
        failures += try await run(driver, .seconds(seconds) / 2, seed)
      } catch let error as SocketError where error.code == .ioUringUnavailable {
        report("\(driver): SKIPPED, \(error)")
      } catch {
        report("VIOLATION: \(driver): \(error)")
        failures += 1
      }
    }
    report(
      failures == 0
        ? "Each reply came to its call; nothing was left open." : "Replay with \(seconds) \(seed)")
    exit(failures == 0 ? 0 : 1)
  }

  private static func run(_ driver: IOLoop.DriverChoice, _ duration: Duration, _ seed: UInt64)
    async throws -> Int
  {
    let before = OpenDescriptors()
    let tally = Tally()
    try await rage(driver, duration, seed, tally)
    tally.expectReplies(atLeast: 1000)
    let difference = await OpenDescriptors.difference(from: before, waiting: .seconds(10))
    if let difference { tally.violate("\(difference)") }
    let now = OpenDescriptors()
    report(
      "\(driver): \(tally.summary), descriptors \(before.targets.count) and \(now.targets.count)")
    return tally.violations
  }

  private static func rage(
    _ driver: IOLoop.DriverChoice, _ duration: Duration, _ seed: UInt64, _ tally: Tally
  ) async throws {
    var configuration = IOLoop.Configuration()
    configuration.driver = driver
    let loops = try IOLoopGroup(count: 2, configuration: configuration)
    let address = try UnixAddress(abstract: "varlink-storm-\(getpid())-\(driver)")
    let listener = try UnixListener<UnixStream>.bind(
      to: address, on: loops.next(), connectionsOn: loops)
    let service = StormService.make()
    let serving = Task {
      try await service.serve(
        listener, ServeLimits(maximumConnections: 64, gracePeriod: .seconds(1)),
        onError: tally.checkService)
    }
    let end = ContinuousClock.now + duration
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<8 {
        group.addTask {
          var round: UInt64 = 0
          while .now < end {
            let caller = Caller(
              address: address, loop: loops.next(), seed: seed &+ UInt64(worker) << 32 &+ round,
              tally: tally)
            await caller.run(until: min(end, .now + .seconds(2)))
            round += 1
          }
        }
      }
    }
    serving.cancel()
    try await serving.value
    await loops.shutdown()
  }
}

/// One connection on which many tasks make calls.
struct Caller {
  let address: UnixAddress
  let loop: IOLoop
  let seed: UInt64
  let tally: Tally

  func run(until end: ContinuousClock.Instant) async {
    do {
      var limits = VarlinkLimits()
      limits.abandonedCalls = 1000
      limits.pipelinesDescriptors = seed % 2 == 0
      let client = try await VarlinkClient.connect(
        to: VarlinkAddress(address), limits: limits, on: loop)
      await withTaskGroup(of: Void.self) { group in
        for task in 0..<32 {
          // Half of the tasks prefer the loop, the others run in the pool.
          let executor: (any TaskExecutor)? = task % 2 == 0 ? loop.taskExecutor : nil
          group.addTask(executorPreference: executor) {
            var random = SeededGenerator(seed: seed &+ UInt64(task) << 16)
            while .now < end { await call(client, &random) }
          }
        }
      }
      await client.close()
    } catch { tally.violate("connection: \(error)") }
  }

  private func call(_ client: VarlinkClient, _ random: inout SeededGenerator) async {
    let number = random.number(0...1_000_000)
    let kind = random.number(0...3)
    let deadline =
      random.number(0...3) == 0 ? .now + .microseconds(random.number(0...2000)) : Deadline.never
    let cancelsAfter =
      random.number(0...3) == 0 ? Duration.microseconds(random.number(0...2000)) : nil
    let tally = tally
    let task = Task(executorPreference: loop.taskExecutor) {
      try await StormService.call(client, kind, number, deadline, tally)
    }
    if let cancelsAfter {
      try? await loop.sleep(for: cancelsAfter)
      task.cancel()
    }
    do {
      try await task.value
      tally.count(\.replies)
    } catch is CancellationError {
      tally.count(\.cancelled)
    } catch let error as SocketError where error.code == .deadlineExceeded {
      tally.count(\.expired)
    } catch {
      // A call that was stopped during its send ends its connection, and all calls behind it.
      tally.countEnd(error)
    }
  }
}

/// Prints a line without buffering, even to a pipe.
func report(_ line: String) {
  print(line)
  fflush(nil)
}
