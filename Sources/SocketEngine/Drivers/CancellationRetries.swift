// SPDX-License-Identifier: Apache-2.0
/// The operations that the kernel was asked to cancel and that have not ended.
///
/// One request may not do. A request that is on its way from one of the kernel's queues to another
/// is found in neither (`-ENOENT`), and one that a kernel thread is about to block for cannot be
/// interrupted yet (`-EALREADY`): seen with connect(2) to a Unix listener whose queue is full,
/// which would wait until somebody accepts. So whoever has not ended is cancelled again after a
/// moment.
struct CancellationRetries: ~Copyable {
  private(set) var pending: Set<OperationID> = []
  /// When to ask again, if the kernel has found nothing to cancel and operations are left.
  private(set) var due: LoopTime?
  private var hasMissed = false
  private var delay = firstDelay

  private static let firstDelay = Duration.microseconds(50)
  private static let longestDelay = Duration.milliseconds(20)

  init() {}

  mutating func asked(for id: OperationID) { pending.insert(id) }

  mutating func ended(_ id: OperationID) {
    guard !pending.isEmpty else { return }
    pending.remove(id)
    if pending.isEmpty {
      due = nil
      hasMissed = false
      delay = Self.firstDelay
    }
  }

  /// The kernel has answered a cancellation with an error. Usually the operation had ended already.
  mutating func missed() { hasMissed = true }

  /// To be called once a turn, when all completions have been seen: whom to cancel again.
  mutating func takeDue() -> Set<OperationID> {
    guard hasMissed, !pending.isEmpty else { return [] }
    guard let due else {
      self.due = LoopTime(after: delay)
      return []
    }
    guard due <= LoopTime.now else { return [] }
    self.due = nil
    hasMissed = false
    delay = min(delay * 2, Self.longestDelay)
    return pending
  }
}
