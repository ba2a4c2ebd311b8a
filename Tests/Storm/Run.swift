// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import MessageSocketsTesting
import SeededRandom

/// One storm, on one driver.
struct Run {
  let driver: IOLoop.DriverChoice
  let options: Options
  let duration: Duration

  /// Runs the storm, and returns the violations.
  func run() async throws -> [String] {
    let before = OpenDescriptors()
    let tally = Tally()
    try await rage(tally)
    await untilDescriptors(are: before, tally)
    report("\(driver), seed \(options.seed): \(tally.summary)")
    for event in tally.missing where options.isThorough {
      tally.violate("there were no \(event.rawValue)")
    }
    return tally.violations
  }

  private func rage(_ tally: Tally) async throws {
    var configuration = IOLoop.Configuration()
    configuration.driver = driver
    let limits = configuration
    let group = try IOLoopGroup(count: max(2, IOLoopGroup.defaultCount), configuration: limits)
    report(
      "\(group.loops[0].driver), \(group.loops.count) loops, \(options.lines) connections at a time"
    )
    let circumstances = Circumstances(tally: tally)
    let end = ContinuousClock.now + duration
    await withTaskGroup(of: Void.self) { tasks in
      for worker in 0..<options.lines {
        tasks.addTask { await work(worker, group, circumstances) }
      }
      tasks.addTask { await shutDownLoops(limits, circumstances) }
      while .now < end {
        let next = min(end, .now + .seconds(5))
        try? await Task.sleep(until: next, clock: .continuous)
        report(
          "  \(end - .now > .zero ? "\((end - .now).components.seconds) s left" : "ending"): \(tally.summary)"
        )
      }
      circumstances.end()
      watch(tally)
    }
    await group.shutdown()
    tally.finish()
  }

  /// If something waits forever, it was lost: the process ends, and reports it.
  private func watch(_ tally: Tally) {
    let seed = options.seed
    Task {
      try? await Task.sleep(for: .seconds(60))
      if tally.hasEnded { return }
      for name in tally.underWay.prefix(20) { report("VIOLATION: \(name): does not end") }
      report("\(tally.underWay.count) connections do not end. Replay with --seed \(seed)")
      exit(1)
    }
  }

  private func work(_ worker: Int, _ group: IOLoopGroup, _ circumstances: Circumstances) async {
    var round = 0
    repeat {
      let plan = Plan(seed: options.seed, worker: worker, round: round)
      await Line(plan: plan, circumstances: circumstances, isMortal: false).run(
        on: group.next(), and: group.next())
      round += 1
    } while !circumstances.isOver
  }

  /// Shuts down one loop after the other, with connections in every state.
  private func shutDownLoops(_ configuration: IOLoop.Configuration, _ circumstances: Circumstances)
    async
  {
    var random = SeededGenerator(seed: options.seed)
    var round = 0
    repeat {
      await shutDownLoop(
        round, configuration, circumstances, after: .microseconds(random.number(0...100_000)))
      round += 1
    } while !circumstances.isOver
  }

  private func shutDownLoop(
    _ round: Int, _ configuration: IOLoop.Configuration, _ circumstances: Circumstances,
    after time: Duration
  ) async {
    let loop: IOLoop
    do {
      loop = try IOLoop(configuration)
    } catch {
      return circumstances.tally.violate("no loop: \(error)")
    }
    await withTaskGroup(of: Void.self) { tasks in
      for worker in 0..<20 {
        let plan = Plan(seed: options.seed, worker: options.lines + worker, round: round)
        tasks.addTask {
          await Line(plan: plan, circumstances: circumstances, isMortal: true).run(
            on: loop, and: loop)
        }
      }
      try? await loop.sleep(for: time)
      await loop.shutdown()
      circumstances.tally.add(.shutdowns)
    }
  }

  /// Waits for the descriptors: a loop's thread closes its own shortly after the last reference to
  /// the loop was dropped.
  private func untilDescriptors(are expected: OpenDescriptors, _ tally: Tally) async {
    let difference = await OpenDescriptors.difference(from: expected, waiting: .seconds(10))
    if let difference { tally.violate("\(difference)") }
  }
}
