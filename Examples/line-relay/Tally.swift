// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// The number of received lines.
final class Tally: Sendable {
  private let count = Atomic(0)

  var lines: Int { count.load(ordering: .relaxed) }
  func add(_ number: Int) { count.add(number, ordering: .relaxed) }
}
