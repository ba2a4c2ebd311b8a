// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import DequeModule

/// Operations in a line, first come, first served.
///
/// An operation that ends while it waits is not searched for: its entry is skipped when its turn
/// comes, or dropped when such entries are the majority. So the cost of an operation does not
/// depend on how many others wait.
struct OperationLine {
  /// An entry in the line. The ID tells whether the slot has been reused when the entry is
  /// examined.
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

  /// Removes an operation that has ended. Does nothing if its turn has already come.
  mutating func remove(_ operation: Operation) {
    guard operation.isInLine else { return }
    operation.isInLine = false
    count -= 1
    assert(count >= 0, "More operations have left a line than were in it")
    guard entries.count > 2 * count + 16 else { return }
    operation.withCore { $0.entriesSeen += entries.count }
    entries.removeAll { !$0.waits }
  }

  /// All waiting operations, in order.
  var all: [Operation] { entries.lazy.filter(\.waits).map(\.operation) }
}

/// Which of a socket's queues an operation belongs to, and so what it waits for.
enum Direction: Int, CaseIterable {
  /// Receives and accepts.
  case incoming
  /// Receives from the error queue (`MSG_ERRQUEUE`), which is separate from the messages.
  case errors
  /// Receives of out-of-band bytes (`MSG_OOB`), which are separate from the others.
  case urgent
  /// Sends and connects.
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

/// The operations of one direction of a socket. At most one of them is in the kernel, because
/// unlinked requests on one socket complete in no particular order.
struct OperationQueue {
  private(set) var active: Operation?
  private var waiting = OperationLine()

  init() {}

  var isEmpty: Bool { active == nil }

  /// Adds an operation. Returns true if its turn is now.
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

  /// Removes an operation that has ended. If it was the active one, returns the next, whose turn it
  /// now is.
  mutating func leave(_ operation: Operation) -> Operation? {
    guard active == operation else {
      waiting.remove(operation)
      return nil
    }
    active = waiting.popFirst()
    return active
  }

  /// All operations: first the waiting ones in order, then the active one. If they are stopped in
  /// this order, none of them becomes active. It also matters for speed: a task group searches for
  /// each ended child starting from the oldest, so the reverse order would make ending thousands of
  /// children quadratic.
  var allWaitingFirst: [Operation] { waiting.all + (active.map { [$0] } ?? []) }
}
