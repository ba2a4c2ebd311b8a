// SPDX-License-Identifier: Apache-2.0
/// Whether the last messages of a socket came in the very turn of the loop in which they were asked
/// for, as where both ends are on one busy loop. Then a task waits for that turn without saying
/// what its cancellation is to do; should the message not come, it says so then
/// (Docs/Decisions/0006).
struct TurnHistory {
  private var inARow: UInt8 = 0

  /// One that came later costs a wait more, so that once is not enough.
  var isLikely: Bool { inARow >= 2 }

  mutating func note(_ cameInTurn: Bool) { inARow = cameInTurn ? min(inARow + 1, 2) : 0 }
}
