// SPDX-License-Identifier: Apache-2.0
internal import HeapModule

/// Values that are due at a time, earliest first.
///
/// A value that nothing waits for any more is not searched for: it is dropped when its time comes,
/// or when such values have become the majority.
struct DeadlineHeap<Value>: ~Copyable {
  struct Entry: Comparable {
    let deadline: LoopTime
    let value: Value

    static func < (left: Entry, right: Entry) -> Bool { left.deadline < right.deadline }
    static func == (left: Entry, right: Entry) -> Bool { left.deadline == right.deadline }
  }

  private var heap = Heap<Entry>()
  private var compactAbove = 64

  init() {}

  /// When the first value is due.
  var next: LoopTime? { heap.min?.deadline }

  mutating func add(_ value: Value, deadline: LoopTime) {
    heap.insert(Entry(deadline: deadline, value: value))
  }

  mutating func popDue(at now: LoopTime) -> Value? {
    guard let first = heap.min, first.deadline <= now else { return nil }
    return heap.popMin()?.value
  }

  /// Whether the heap has doubled since values that nothing waits for were last dropped.
  var hasDoubled: Bool { heap.count > compactAbove }

  var entries: [Entry] { heap.unordered }

  /// Keeps only `entries`.
  mutating func keep(_ entries: [Entry]) {
    heap = Heap(entries)
    compactAbove = max(64, entries.count * 2)
  }
}
