// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// Counts the messages that all tasks or threads receive between the end of the warm-up and the end
/// of the measurement.
public final class Meter: Sendable {
  private enum Phase: UInt8, AtomicRepresentable {
    case warmingUp, measuring, coolingDown, over
  }

  private let phase = Atomic(Phase.warmingUp)
  private let total = Atomic(0)

  public init() {}

  /// False once the measurement is over: send nothing new.
  public var isRunning: Bool { phase.load(ordering: .relaxed) != .over }

  /// What was measured; complete when all counters have ended.
  public var messages: Int { total.load(ordering: .relaxed) }

  /// Starts to count; the warm-up is over.
  public func begin() { phase.store(.measuring, ordering: .relaxed) }

  /// Counts no more.
  public func end() { phase.store(.over, ordering: .relaxed) }

  /// Waits for the warm-up and the measurement to pass, and returns how long the measurement took.
  /// `atBegin` and `atEnd` stand outside it.
  public func measure(
    _ options: Options, atBegin: () async throws -> Void = {}, atEnd: () async throws -> Void = {}
  ) async throws -> Duration {
    try await Task.sleep(for: .seconds(options.warmup))
    try await atBegin()
    begin()
    let start = ContinuousClock.now
    try await Task.sleep(for: .seconds(options.seconds))
    phase.store(.coolingDown, ordering: .relaxed)
    let elapsed = ContinuousClock.now - start
    // Called while messages still flow, so that the end of the tasks is not measured.
    try await atEnd()
    end()
    return elapsed
  }

  /// One task's or thread's count, added to the total when it ends: while messages flow, nothing is
  /// shared but the phase.
  public struct Counter: ~Copyable {
    private let meter: Meter
    private var count = 0

    public init(_ meter: Meter) { self.meter = meter }

    /// Counts, if the measurement is under way.
    public mutating func add(_ messages: Int) {
      if meter.phase.load(ordering: .relaxed) == .measuring { count += messages }
    }

    deinit { meter.total.wrappingAdd(count, ordering: .relaxed) }
  }
}
