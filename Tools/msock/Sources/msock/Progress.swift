// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation

struct ProgressOption: ParsableArguments {
  @Flag(
    help: "Say every second how much was copied; on a terminal that is said without being asked.")
  var progress = false

  /// Starts the progress of a copy that begins now.
  func begin() -> Progress { Progress(isShown: progress || isatty(2) == 1) }
}

/// Reports a copy's progress on standard error every second, and so nothing for short copies.
struct Progress: Sendable {
  let isShown: Bool
  private let start = ContinuousClock.now
  private var next = ContinuousClock.now + .seconds(1)
  private var copied = 0

  init(isShown: Bool) { self.isShown = isShown }

  mutating func add(_ count: Int) {
    copied += count
    let now = ContinuousClock.now
    guard isShown, now >= next else { return }
    next = now + .seconds(1)
    let mebibytes = Double(copied) / 1_048_576
    let rate = mebibytes / ((now - start) / .seconds(1))
    Console.note("copied \(rounded(mebibytes)) MiB, \(rounded(rate)) MiB a second")
  }

  private func rounded(_ number: Double) -> Double { (number * 10).rounded() / 10 }
}
