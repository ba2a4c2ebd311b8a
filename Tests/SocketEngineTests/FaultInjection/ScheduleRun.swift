// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import SeededRandom

@testable import SocketEngine

/// Runs schedules one after the other, each with its own loop, on the calling thread. No other
/// thread takes part, so the seed determines everything.
enum ScheduleRun {
  struct Result {
    var violations: [String] = []
    var counts: [String: Int] = [:]
  }

  /// The current seed, reported if the process ends by a trap.
  private static let current = Atomic<UInt64>(0)

  static func run(seed: UInt64) -> Result {
    current.store(seed, ordering: .relaxed)
    let before = SimulatedFiles.open()
    let ledger = Ledger()
    do {
      let core = try runLoop(seed: seed, ledger: ledger)
      if core.operations.inUse > 0 {
        ledger.violate("\(core.operations.inUse) operations were not given back")
      }
      if core.controlBuffers.inUse + core.payloadBuffers.inUse > 0 {
        ledger.violate("memory was not given back")
      }
    } catch {
      ledger.violate("the schedule cannot be run: \(error)")
    }
    ledger.close()
    let after = SimulatedFiles.open()
    if before != after {
      ledger.violate(
        "left open: \(after.subtracting(before).sorted()), closed: \(before.subtracting(after).sorted())"
      )
    }
    return Result(violations: ledger.violations, counts: ledger.counts)
  }

  private static func runLoop(seed: UInt64, ledger: Ledger) throws -> LoopCore {
    var random = SeededGenerator(seed: seed)
    var configuration = IOLoop.Configuration()
    configuration.receiveBufferSize = random.number(16...120)
    configuration.controlBufferSize = 256
    configuration.receiveBuffers = 1 << random.number(0...3)
    configuration.pooledBuffers = random.number(0...2)
    configuration.waitingReceiveBuffers = random.number(0...4)
    configuration.jobsPerTurn = random.number(1...8)
    // One kernel in eight has no multishot receives.
    let buffers =
      random.oneIn(8)
      ? nil
      : SimulatedBuffers(
        count: configuration.receiveBuffers, controlSize: configuration.controlBufferSize,
        payloadSize: configuration.receiveBufferSize)
    let driver = SimulatedDriver(seed: seed, ledger: ledger, buffers: buffers)
    return try SimulatedLoop.run(configuration, driver) { loop in
      await Schedule(loop: loop, driver: driver).run()
    }
  }

  /// Runs `body` on a separate thread, on which none of the test's tasks run, and reports the seed
  /// if it traps.
  static func onOwnThread(_ body: @escaping @Sendable () -> Void) {
    var thread = pthread_t()
    let context = Unmanaged.passRetained(Body(body))
    let status = pthread_create(
      &thread, nil,
      { context in
        Unmanaged<Body>.fromOpaque(context!).takeRetainedValue().run()
        return nil
      }, context.toOpaque())
    precondition(status == 0, "pthread_create: \(status)")
    for signal in [SIGILL, SIGTRAP, SIGABRT] { Glibc.signal(signal, nameSeed) }
    pthread_join(thread, nil)
    for signal in [SIGILL, SIGTRAP, SIGABRT] { Glibc.signal(signal, SIG_DFL) }
  }

  private static let nameSeed: @convention(c) (Int32) -> Void = { signal in
    // Only async-signal-safe calls.
    var digits = InlineArray<20, UInt8>(repeating: 0)
    var rest = current.load(ordering: .relaxed)
    var first = 20
    repeat {
      first -= 1
      digits[first] = UInt8(48 + rest % 10)
      rest /= 10
    } while rest > 0
    _ = write(2, "Trapped in the schedule with SEED=", 34)
    for index in first..<20 { _ = write(2, [digits[index]], 1) }
    _ = write(2, "\n", 1)
    Glibc.signal(signal, SIG_DFL)
    raise(signal)
  }

  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
}
