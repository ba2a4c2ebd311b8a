// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// How many lines have come.
final class Tally: Sendable {
  private let count = Atomic(0)

  var lines: Int { count.load(ordering: .relaxed) }
  func add(_ number: Int) { count.add(number, ordering: .relaxed) }
}
