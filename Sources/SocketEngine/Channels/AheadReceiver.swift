// SPDX-License-Identifier: Apache-2.0
internal import DequeModule

/// Who gets the messages of a socket that receives ahead of demand: waiting tasks first, in order,
/// and then the read-ahead.
struct AheadReceiver {
  private(set) var readAhead = ReadAhead()
  private var waiters: Deque<Operation> = []
  /// The multishot receive, queued or in the kernel.
  var armed: Operation?

  init() {}

  var hasWaiters: Bool { !waiters.isEmpty }
  var isIdle: Bool { armed == nil && readAhead.isEmpty }

  mutating func setWindow(_ window: ReceiveWindow) { readAhead.window = window }

  mutating func addWaiter(_ waiter: Operation) { waiters.append(waiter) }
  mutating func popWaiter() -> Operation? { waiters.popFirst() }
  mutating func removeWaiter(_ waiter: Operation) { waiters.removeAll { $0 == waiter } }

  mutating func keep(_ message: Operation, inFront: Bool) {
    inFront ? readAhead.prepend(message) : readAhead.append(message)
  }
  mutating func popMessage() -> Operation? { readAhead.popFirst() }

  mutating func takeWaiters() -> [Operation] {
    defer { waiters = [] }
    return Array(waiters)
  }
}
