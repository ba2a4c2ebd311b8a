// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import MessageSockets
internal import Synchronization

/// The activity of the loops between the beginning and the end of the measurement.
final class Activity: Sendable {
  private let loops: IOLoopGroup
  private let atBegin = Mutex(Counts())
  private let atEnd = Mutex(Counts())
  private let resident = Mutex<(tasks: Int, connections: Int)?>(nil)

  private struct Counts {
    var enters = 0.0
    var hops = 0.0
    var received = 0.0
    var cancelled = 0.0
    var allocations: Double? = 0
  }

  init(loops: IOLoopGroup) { self.loops = loops }

  func begin() async {
    let counts = await count()
    atBegin.withLock { $0 = counts }
  }

  func end() async {
    let counts = await count()
    atEnd.withLock { $0 = counts }
  }

  /// Records the memory of the tasks in idle mode, and their memory once each has a connection.
  func note(residentBytesOfTasks tasks: Int, ofConnections connections: Int) {
    resident.withLock { $0 = (tasks, connections) }
  }

  /// Adds the figures of a run to the report, per message or per cancelled receive.
  func describe(in report: inout Report, isCancelling: Bool, onPool: Bool, connections: Double) {
    if let resident = resident.withLock({ $0 }) {
      report.residentBytesPerTask = Double(resident.tasks) / connections
      report.residentBytesPerConnection = Double(resident.connections) / connections
    }
    let (begin, end) = (atBegin.withLock { $0 }, atEnd.withLock { $0 })
    let units = isCancelling ? end.cancelled - begin.cancelled : end.received - begin.received
    guard units > 0 else { return }
    report.entersPerMessage = (end.enters - begin.enters) / units
    report.hopsPerMessage = (end.hops - begin.hops) / units
    // The allocations of the pool's threads are unknown.
    guard !onPool, let first = begin.allocations, let last = end.allocations else { return }
    report.allocationsPerMessage = (last - first) / units
  }

  private func count() async -> Counts {
    var counts = Counts()
    for loop in loops.loops {
      let statistics = await loop.statistics
      counts.enters += Double(statistics.enters)
      counts.hops += Double(statistics.hops)
      counts.received += Double(statistics.messagesReceived)
      counts.cancelled += Double(statistics.cancelled)
      let allocations = await loop.run { AllocationCounter.onThisThread }
      if let sum = counts.allocations, let allocations {
        counts.allocations = sum + Double(allocations)
      } else {
        counts.allocations = nil
      }
    }
    return counts
  }
}
