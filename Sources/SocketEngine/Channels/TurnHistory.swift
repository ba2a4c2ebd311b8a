/// Whether the last messages of a socket came in the very turn of the loop in which they were asked for, as where both ends are on one busy loop. Then a task
/// waits for that turn without saying what its cancellation is to do, which costs as much as the rest of the wait; should the message not come, it says so then.
struct TurnHistory {
  private var inARow: UInt8 = 0

  /// One that came later costs a wait more, so that once is not enough.
  var isLikely: Bool { inARow >= 2 }

  mutating func note(_ cameInTurn: Bool) { inARow = cameInTurn ? min(inARow + 1, 2) : 0 }
}
