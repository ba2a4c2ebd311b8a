// SPDX-License-Identifier: Apache-2.0
internal import HeapModule

/// Operations to try again after a while, because the kernel may not say when: see ``Patience``.
///
/// An entry whose operation has ended is not searched for: it is dropped when its time comes, or
/// when such entries have become the majority.
struct RetryQueue: ~Copyable {
  struct Entry: Comparable {
    let operation: Operation
    let id: OperationID
    let patience: Patience
    let delay: Duration
    let deadline: LoopTime

    init(_ operation: Operation, _ patience: Patience, delay: Duration) {
      self.operation = operation
      id = operation.id
      self.patience = patience
      self.delay = delay
      deadline = LoopTime(after: delay)
    }

    static func < (left: Entry, right: Entry) -> Bool { left.deadline < right.deadline }
    static func == (left: Entry, right: Entry) -> Bool { left.deadline == right.deadline }
  }

  private var heap = Heap<Entry>()
  private var compactAbove = 64

  init() {}

  var next: LoopTime? { heap.min?.deadline }

  mutating func add(_ entry: Entry) { heap.insert(entry) }

  mutating func popDue(at now: LoopTime) -> Entry? {
    guard let first = heap.min, first.deadline <= now else { return nil }
    return heap.popMin()
  }

  /// Drops the entries of operations that do not wait any more, once the queue has doubled since
  /// the last time.
  mutating func compact(isWaiting: (Entry) -> Bool) {
    guard heap.count > compactAbove else { return }
    heap = Heap(heap.unordered.filter(isWaiting))
    compactAbove = max(64, heap.count * 2)
  }
}
