// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing

/// Runs the engine on a simulated kernel that does everything a kernel may do. `SCHEDULES` is the
/// number of schedules (2,000), `SEED` the first one (1): equal seeds give equal schedules.
@Suite(.serialized) struct FaultInjectionTests {
  @Test func theContractHoldsWhateverTheKernelDoes() {
    let count = environment("SCHEDULES") ?? 2000
    let first = environment("SEED") ?? 1
    let results = Mutex<(failed: [(UInt64, [String])], counts: [String: Int])>(([], [:]))
    ScheduleRun.onOwnThread {
      for seed in first..<first + count {
        let result = ScheduleRun.run(seed: seed)
        results.withLock { results in
          if !result.violations.isEmpty { results.failed.append((seed, result.violations)) }
          results.counts.merge(result.counts, uniquingKeysWith: +)
        }
        if results.withLock({ $0.failed.count }) >= 5 { return }
      }
    }
    let (failed, counts) = results.withLock { $0 }
    for (seed, violations) in failed {
      Issue.record("SEED=\(seed) SCHEDULES=1: \(violations.joined(separator: "; "))")
    }
    print(
      "\(count) schedules from seed \(first): \(counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", "))"
    )
    guard count >= 1000 else { return }
    for name in [
      "messages", "short sends", "errors", "cancellations", "late stops", "shutdowns",
      "failed loops", "ends", "buffers exhausted",
      "descriptors lost",
    ] {
      #expect(counts[name, default: 0] > 0, "no \(name) in \(count) schedules")
    }
  }

  @Test func aSeedIsOneSchedule() {
    let counts = Mutex<[[String: Int]]>([])
    ScheduleRun.onOwnThread {
      for seed in [7, 7, 8] as [UInt64] {
        let result = ScheduleRun.run(seed: seed)
        counts.withLock { $0.append(result.counts) }
      }
    }
    let all = counts.withLock { $0 }
    #expect(all[0] == all[1])
    #expect(all[0] != all[2])
  }

  private func environment(_ name: String) -> UInt64? {
    getenv(name).flatMap { UInt64(String(cString: $0)) }
  }
}
