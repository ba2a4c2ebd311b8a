// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
internal import Synchronization

/// Descriptors waiting to be closed that may delay each other but no others: those from one peer's
/// messages, or the connections of one listener. The ``ClosingService`` closes them.
///
/// `@unchecked Sendable`: the service's lock guards all mutable state except the count, which is
/// atomic.
package final class ClosingQueue: @unchecked Sendable {
  let group: ClosingGroup
  /// Whether the descriptors are closed one after the other, so that together they block at most
  /// one thread.
  let isSerial: Bool
  private let unclosed = Atomic(0)

  fileprivate var entries: Deque<ClosingPlan.Entry> = []
  fileprivate var beingClosed = 0
  /// Whether the queue is in its group's list.
  fileprivate var isListed = false

  package init(group: ClosingGroup = ClosingGroup(), isSerial: Bool = false) {
    self.group = group
    self.isSerial = isSerial
  }

  /// How many descriptors have not been closed yet, including those being closed. Callable from any
  /// thread.
  package var count: Int { unclosed.load(ordering: .acquiring) }

  func noteAdded(_ count: Int) { unclosed.add(count, ordering: .acquiringAndReleasing) }
  func noteClosed() { unclosed.subtract(1, ordering: .acquiringAndReleasing) }

  fileprivate var canGoOn: Bool { !entries.isEmpty && (!isSerial || beingClosed == 0) }
}

/// The queues of all peers that one source admits, for example a listener. They share the source's
/// part of the threads.
///
/// `@unchecked Sendable`: guarded by the service's lock.
package final class ClosingGroup: @unchecked Sendable {
  fileprivate var ready: Deque<ClosingQueue> = []
  fileprivate var beingClosed = 0
  /// Whether the group is in the plan's list.
  fileprivate var isListed = false

  package init() {}
}

/// Decides what is closed next; touches no descriptor and no thread.
///
/// Groups take turns, and so do the queues of a group, with one descriptor each. A group gets a
/// thread only while it occupies fewer threads than are free. So a group that blocks all threads it
/// can get has half of them, a second one half of the rest, and so on.
struct ClosingPlan {
  struct Entry: Sendable {
    /// The entry owns the descriptor, from the queue's `close` until a thread of the service has
    /// closed it.
    let number: Int32
    let whenClosed: (@Sendable () -> Void)?
  }

  struct Step: Sendable {
    let entry: Entry
    let queue: ClosingQueue
  }

  let maximumThreads: Int
  /// How many descriptors are being closed; each occupies a thread.
  private(set) var beingClosed = 0
  private var groups: Deque<ClosingGroup> = []

  init(maximumThreads: Int) { self.maximumThreads = maximumThreads }

  mutating func add(_ entry: Entry, to queue: ClosingQueue) {
    queue.entries.append(entry)
    list(queue)
  }

  /// Whether ``next()`` has something to do.
  var hasWork: Bool { groups.contains { mayGoOn($0) } }

  /// Takes the next descriptor. Its queue counts it as being closed until ``finish(_:)``.
  mutating func next() -> Step? {
    for _ in 0..<groups.count {
      let group = groups.popFirst()!
      assert(!group.ready.isEmpty, "A group is listed without a queue")
      guard mayGoOn(group) else {
        groups.append(group)
        continue
      }
      let queue = group.ready.popFirst()!
      assert(queue.canGoOn, "A queue is listed with nothing to do")
      queue.isListed = false
      let step = Step(entry: queue.entries.popFirst()!, queue: queue)
      count(1, in: queue)
      group.isListed = !group.ready.isEmpty
      if group.isListed { groups.append(group) }
      list(queue)
      return step
    }
    return nil
  }

  mutating func finish(_ step: Step) {
    count(-1, in: step.queue)
    list(step.queue)
  }

  private func mayGoOn(_ group: ClosingGroup) -> Bool {
    group.beingClosed < maximumThreads - beingClosed
  }

  private mutating func count(_ change: Int, in queue: ClosingQueue) {
    queue.beingClosed += change
    queue.group.beingClosed += change
    beingClosed += change
    assert(
      queue.beingClosed >= 0 && queue.group.beingClosed >= queue.beingClosed
        && beingClosed <= maximumThreads)
  }

  private mutating func list(_ queue: ClosingQueue) {
    guard !queue.isListed, queue.canGoOn else { return }
    queue.isListed = true
    let group = queue.group
    group.ready.append(queue)
    guard !group.isListed else { return }
    group.isListed = true
    groups.append(group)
  }
}
