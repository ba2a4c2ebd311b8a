// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import DequeModule

/// Operations in a row, first come, first served.
///
/// One that ends while it waits is not searched for: its entry is skipped when its turn comes, or
/// dropped when such entries have become the majority. So an operation costs the same however
/// many wait with it.
struct OperationLine {
  /// The slot may be in another use by the time the entry is looked at.
  private struct Entry {
    let operation: Operation
    let id: OperationID

    var waits: Bool { operation.id == id && operation.isInLine }
  }

  private var entries: Deque<Entry> = []
  /// How many operations wait.
  private(set) var count = 0

  init() {}

  var isEmpty: Bool { count == 0 }

  mutating func append(_ operation: Operation) {
    assert(!operation.isInLine, "An operation waits in two lines")
    operation.isInLine = true
    entries.append(Entry(operation: operation, id: operation.id))
    count += 1
  }

  mutating func popFirst() -> Operation? {
    while let entry = entries.popFirst() {
      entry.operation.withCore { $0.entriesSeen += 1 }
      guard entry.waits else { continue }
      entry.operation.isInLine = false
      count -= 1
      return entry.operation
    }
    assert(count == 0, "Operations were lost from a line")
    return nil
  }

  /// Removes an operation that has ended. No harm if its turn has come before.
  mutating func remove(_ operation: Operation) {
    guard operation.isInLine else { return }
    operation.isInLine = false
    count -= 1
    assert(count >= 0, "More operations have left a line than were in it")
    guard entries.count > 2 * count + 16 else { return }
    operation.withCore { $0.entriesSeen += entries.count }
    entries.removeAll { !$0.waits }
  }

  /// All that wait, in order.
  var all: [Operation] { entries.lazy.filter(\.waits).map(\.operation) }
}

/// Which of a socket's queues an operation stands in, and so what it waits for.
enum Direction: Int, CaseIterable {
  /// Receive, accept.
  case incoming
  /// Receive from the error queue (`MSG_ERRQUEUE`), which messages do not pass.
  case errors
  /// Receive out-of-band bytes (`MSG_OOB`), which are apart from the others.
  case urgent
  /// Send, connect.
  case outgoing

  init(_ request: OperationRequest) {
    switch request {
    case .receive(let flags) where flags & cms_msg_errqueue != 0: self = .errors
    case .receive(let flags) where flags & cms_msg_oob != 0: self = .urgent
    case .pauseReceiving: self = .errors
    case .receive, .receiveWhenReadable, .receiveAhead, .accept, .acceptWhenReadable,
      .acceptAfterCancellation:
      self = .incoming
    case .send, .pauseSending, .connect: self = .outgoing
    case .waitForMessage, .event, .timer: preconditionFailure("Not an operation of the kernel's")
    }
  }
}

/// The operations of one direction of a socket: at most one is in the kernel, because unlinked
/// requests on one socket complete in no particular order.
struct OperationQueue {
  private(set) var active: Operation?
  private var waiting = OperationLine()

  init() {}

  var isEmpty: Bool { active == nil }

  /// True if it is the operation's turn at once.
  mutating func join(_ operation: Operation) -> Bool {
    assert(
      operation.life.state == .queued && active != operation, "An operation joins its queue twice")
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
      waiting.remove(operation)
      return nil
    }
    active = waiting.popFirst()
    return active
  }

  /// All operations, those that wait first, as they came, and the active one last: stopped in this
  /// order, none becomes active meanwhile. A task group looks for each child that ends from the
  /// oldest on: the other way round, the end of thousands would cost the square of their number.
  var allWaitingFirst: [Operation] { waiting.all + (active.map { [$0] } ?? []) }
}
