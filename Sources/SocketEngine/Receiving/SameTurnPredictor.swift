// SPDX-License-Identifier: Apache-2.0
/// Whether the next receive of a socket probably comes before its message, where the kernel does
/// not say that there is more: on sequential packets and datagrams, and on streams before Linux
/// 6.17.
struct WaitPredictor {
  private var hasWaited = false
  private var hasSent = false

  /// The last receive has waited for more than a turn, or something was sent since, to which the
  /// message is the answer.
  var isLikely: Bool { hasWaited || hasSent }

  mutating func noteSend() { hasSent = true }

  mutating func noteReceive(inTurn: Bool) {
    hasWaited = !inTurn
    hasSent = false
  }
}

/// Whether the last messages of a socket came in the very turn of the loop in which they were asked
/// for, as where both ends are on one busy loop. Then a task waits for that turn without saying
/// what its cancellation is to do; should the message not come, it says so then
/// (Docs/Decisions/0006).
struct SameTurnPredictor {
  private var inARow: UInt8 = 0

  /// One that came later costs a wait more, so that once is not enough.
  var isLikely: Bool { inARow >= 2 }

  mutating func note(_ cameInTurn: Bool) { inARow = cameInTurn ? min(inARow + 1, 2) : 0 }
}
