// SPDX-License-Identifier: Apache-2.0
internal import DequeModule

/// The operations of one direction of a socket, first come, first served: at most one is in the
/// kernel, because unlinked requests on one socket complete in no particular order.
struct OperationQueue {
  private(set) var active: Operation?
  private var waiting: Deque<Operation> = []

  init() {}

  var isEmpty: Bool { active == nil }

  /// True if it is the operation's turn at once.
  mutating func join(_ operation: Operation) -> Bool {
    guard active != nil else {
      active = operation
      return true
    }
    waiting.append(operation)
    return false
  }

  /// Removes an operation that has ended. Returns the one whose turn it is now, if it was the
  /// active one that left.
  mutating func leave(_ operation: Operation) -> Operation? {
    guard active == operation else {
      waiting.removeAll { $0 == operation }
      return nil
    }
    active = waiting.popFirst()
    return active
  }

  /// All operations, the active one last: stopped in this order, none becomes active meanwhile.
  var allFromTheBack: [Operation] { waiting.reversed() + (active.map { [$0] } ?? []) }
}
