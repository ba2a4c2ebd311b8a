// SPDX-License-Identifier: Apache-2.0
import SeededRandom
import Testing

@testable import SocketEngine

/// Decides what is closed next, without a thread and without a descriptor.
@Suite struct ClosingPlanTests {
  private func entry(_ number: Int32 = 0) -> ClosingPlan.Entry {
    ClosingPlan.Entry(number: number, whenClosed: nil)
  }

  /// Starts as many steps as there are threads, none of which ends.
  private func startAll(_ plan: inout ClosingPlan) -> [ClosingPlan.Step] {
    var steps: [ClosingPlan.Step] = []
    while let step = plan.next() { steps.append(step) }
    return steps
  }

  @Test func aPeersOwnDescriptorsWaitForEachOther() {
    var plan = ClosingPlan(maximumThreads: 8)
    let (hostile, other) = (ClosingQueue(isSerial: true), ClosingQueue(isSerial: true))
    for number in 0..<10 as Range<Int32> { plan.add(entry(number), to: hostile) }
    for number in 10..<12 as Range<Int32> { plan.add(entry(number), to: other) }
    var steps = startAll(&plan)
    #expect(steps.map(\.entry.number) == [0, 10])
    let hasMore = plan.hasWork
    #expect(!hasMore)
    // The other queue continues, whatever happens to the first.
    plan.finish(steps.removeLast())
    #expect(startAll(&plan).map(\.entry.number) == [11])
  }

  @Test func peersTakeTurns() {
    var plan = ClosingPlan(maximumThreads: 8)
    let group = ClosingGroup()
    let queues = (0..<3).map { _ in ClosingQueue(group: group, isSerial: true) }
    for round in 0..<3 as Range<Int32> {
      for (index, queue) in queues.enumerated() where round == 0 || index != 1 {
        plan.add(entry(Int32(index)), to: queue)
      }
    }
    var order: [Int32] = []
    while let step = plan.next() {
      order.append(step.entry.number)
      plan.finish(step)
    }
    #expect(order == [0, 1, 2, 0, 2, 0, 2])
  }

  @Test func aSourceThatBlocksAllItCanGetLeavesHalfToOthers() {
    var plan = ClosingPlan(maximumThreads: 64)
    let groups = (0..<8).map { _ in ClosingQueue(group: ClosingGroup()) }
    var taken: [Int] = []
    for queue in groups {
      for _ in 0..<1000 { plan.add(entry(), to: queue) }
      taken.append(startAll(&plan).count)
    }
    #expect(taken == [32, 16, 8, 4, 2, 1, 1, 0])
    #expect(plan.beingClosed == 64)
  }

  /// Whatever happens, nothing is lost or closed twice, each peer's descriptors are closed in
  /// order, and the bounds hold.
  @Test(arguments: 0..<20 as Range<UInt64>) func nothingIsLostWhateverHappens(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var plan = ClosingPlan(maximumThreads: Int.random(in: 1...8, using: &random))
    let queues = (0..<4).flatMap { _ -> [ClosingQueue] in
      let group = ClosingGroup()
      return [
        ClosingQueue(group: group), ClosingQueue(group: group, isSerial: true),
        ClosingQueue(group: group, isSerial: true),
      ]
    }
    var added = [Int32](repeating: 0, count: queues.count)
    var seen = added
    var running: [(ClosingPlan.Step, Int)] = []
    for step in 0..<2000 {
      let index = Int.random(in: 0..<queues.count, using: &random)
      switch Int.random(in: 0..<3, using: &random) {
      case 0 where step < 1500:
        plan.add(entry(added[index]), to: queues[index])
        added[index] += 1
      case 1:
        let hadWork = plan.hasWork
        let next = plan.next()
        #expect(hadWork == (next != nil))
        guard let next else { continue }
        let queue = queues.firstIndex { $0 === next.queue }!
        #expect(next.entry.number == seen[queue], "in order, once")
        seen[queue] += 1
        if next.queue.isSerial { #expect(!running.contains { $0.1 == queue }) }
        running.append((next, queue))
        #expect(running.count == plan.beingClosed && plan.beingClosed <= plan.maximumThreads)
      default:
        if running.isEmpty { continue }
        plan.finish(running.remove(at: Int.random(in: 0..<running.count, using: &random)).0)
      }
    }
    repeat {
      while let next = plan.next() {
        let queue = queues.firstIndex { $0 === next.queue }!
        seen[queue] += 1
        running.append((next, queue))
      }
      if let (last, _) = running.popLast() { plan.finish(last) }
    } while !running.isEmpty || plan.hasWork
    #expect(seen == added)
    #expect(plan.beingClosed == 0)
  }

  @Test func boundsFollowTheLimitOfOpenFiles() {
    #expect([16, 256, 1024, 4096, 1 << 20].map(ClosingLimits.forPeer) == [4, 64, 256, 1024, 1024])
    #expect(
      [16, 256, 1024, 4096, 1 << 20].map(ClosingLimits.forConnections) == [2, 32, 128, 512, 1024])
    #expect([16, 256, 1024, 4096, 1 << 20].map(ClosingLimits.forRefused) == [2, 32, 64, 64, 64])
    #expect([0, 1, 16].map(ClosingLimits.forPeer) == [1, 1, 4])
    for limit in [0, 1, 2, 64, 1024, Int.max] {
      // A peer without pending descriptors may send as long as the process has room; without room,
      // no peer may.
      #expect(
        !ClosingLimits.isFull(0, bound: ClosingLimits.forPeer(of: limit), total: 0, limit: limit))
      #expect(
        ClosingLimits.isFull(
          0, bound: ClosingLimits.forPeer(of: limit), total: ClosingLimits.forProcess(of: limit),
          limit: limit))
      // A single peer is stopped before half of the descriptors are used up.
      let bound = ClosingLimits.forPeer(of: limit)
      #expect(ClosingLimits.isFull(bound, bound: bound, total: bound, limit: limit))
    }
    // Many peers at their bound still leave room for another.
    var counts = [Int](repeating: 0, count: 20)
    for index in counts.indices {
      while !ClosingLimits.isFull(
        counts[index], bound: 256, total: counts.reduce(0, +), limit: 1024)
      { counts[index] += 1 }
    }
    #expect(counts.reduce(0, +) == 512)
    #expect(counts.prefix(3) == [256, 128, 64])
  }
}
