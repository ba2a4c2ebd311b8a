// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// The events so far, and the violations.
final class Tally: Sendable {
  enum Event: String, CaseIterable {
    case messages, descriptors, connections
    case cancelledSends = "sends cancelled", partialSends = "sends cut short"
    case cancelledReceives = "receives cancelled", expired = "deadlines", earlyExits =
      "early exits", batches
    case closed = "closed early", dropped = "dropped early", shutdowns
  }

  private struct State {
    var counts: [Event: Int] = [:]
    var violations: [String] = []
    var underWay: [UInt64: String] = [:]
    var hasEnded = false
  }

  private let state = Mutex(State())

  func add(_ event: Event, _ count: Int = 1) {
    state.withLock { $0.counts[event, default: 0] += count }
  }

  func violate(_ text: @autoclosure () -> String) {
    let text = text()
    state.withLock { state in
      if state.violations.count < 20 { state.violations.append(text) }
    }
  }

  /// Records that a connection begins or has ended, so that those that never end can be reported.
  func begin(_ line: UInt64, _ name: String) { state.withLock { $0.underWay[line] = name } }
  func end(_ line: UInt64) { state.withLock { $0.underWay[line] = nil } }
  var underWay: [String] { state.withLock { $0.underWay.values.sorted() } }

  /// Records that all loops have been shut down.
  func finish() { state.withLock { $0.hasEnded = true } }
  var hasEnded: Bool { state.withLock { $0.hasEnded } }

  var violations: [String] { state.withLock { $0.violations } }

  /// The events that have never occurred.
  var missing: [Event] {
    state.withLock { state in Event.allCases.filter { state.counts[$0] == nil } }
  }

  var summary: String {
    state.withLock { state in
      Event.allCases.map { "\(state.counts[$0, default: 0]) \($0.rawValue)" }.joined(
        separator: ", ")
    }
  }
}
