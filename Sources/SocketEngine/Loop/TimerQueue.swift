// SPDX-License-Identifier: Apache-2.0
internal import HeapModule

/// The deadlines of a loop, earliest first. The loop waits in the kernel no longer than until the
/// first (the ring's own wait takes a time-out), so that a deadline costs no system call of its
/// own.
///
/// An entry whose operation ended before its time is not searched for: it is dropped when its time
/// comes, or when such entries have become the majority.
struct TimerQueue: ~Copyable {
  enum Action: Sendable {
    /// The operation was waiting for this: finish it.
    case finish
    /// The operation has taken too long: stop it.
    case stop
  }

  struct Entry: Comparable, Sendable {
    let deadline: LoopTime
    let operation: OperationID
    let action: Action

    static func < (left: Entry, right: Entry) -> Bool { left.deadline < right.deadline }
    static func == (left: Entry, right: Entry) -> Bool { left.deadline == right.deadline }
  }

  private var heap = Heap<Entry>()
  private var compactAbove = 64

  init() {}

  var next: LoopTime? { heap.min?.deadline }

  mutating func add(_ operation: OperationID, deadline: LoopTime, action: Action) {
    heap.insert(Entry(deadline: deadline, operation: operation, action: action))
  }

  mutating func popDue(at now: LoopTime) -> Entry? {
    guard let first = heap.min, first.deadline <= now else { return nil }
    return heap.popMin()
  }

  /// Whether the queue has doubled since entries of operations that have ended were last dropped.
  var hasDoubled: Bool { heap.count > compactAbove }

  var entries: [Entry] { heap.unordered }

  /// Keeps only `entries`.
  mutating func keep(_ entries: [Entry]) {
    heap = Heap(entries)
    compactAbove = max(64, entries.count * 2)
  }
}
