// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import DequeModule
internal import Synchronization
internal import SystemPackage

// What goes back to the front of what was received ahead: bytes that nobody used, and an end or an
// error that a receive found and does not report. While there is something, no receive goes to the
// kernel, which has what comes later.

extension OpenSocket {
  /// The next receive, or the one that waits, gets this piece, which was the last that was received
  /// from the stream.
  func unread(_ piece: consuming OperationOutcome) {
    guard isOpen else { return piece.discard() }
    guard let receive = receiveInFront else { return deliver(piece, inFront: true) }
    keep(piece, inFront: true)
    // It waits in the kernel, for later bytes. When it has ended, it takes these.
    core.stop(receive, .bytesUnread)
  }

  private func keep(_ outcome: consuming OperationOutcome, inFront: Bool) {
    multishot.keep(core.makeMessage(outcome), inFront: inFront)
    isReceivingAhead = true
  }

  /// A receive has ended, and bytes have been put back since it was handed to the kernel: they come
  /// first, and behind them what it has brought.
  func putInOrder(_ operation: Operation) {
    guard operation.request.receivesMessages else { return }
    switch operation.outcome.errno {
    case .canceled where operation.life.stopReason != .bytesUnread: return
    case .canceled, .wouldBlock: break
    // The kernel tells an error once, also to one that only looks.
    case nil where operation.request.isPeek: operation.takeOutcome().discard()
    default: keep(operation.takeBroughtOutcome(), inFront: false)
    }
    operation.outcome = nextPrefetched(for: operation)!
  }

  /// What a receive whose turn has come finds here; nil if it is to go to the kernel.
  func prefetchedOutcome(for operation: Operation) -> OperationOutcome? {
    operation.request.receivesMessages && multishot.hasPrefetched
      ? nextPrefetched(for: operation) : nil
  }

  private func nextPrefetched(for operation: Operation) -> OperationOutcome? {
    operation.request.isPeek
      ? copyPrefetched(room: operation.receiveRoom) : takePrefetched(room: operation.receiveRoom)
  }

  /// A receive that only looked whether there is something reports no end and no error: the next
  /// one finds it, also one that waits behind it. So with a message of which something is missing.
  func keepFailure(of operation: Operation) {
    if operation.outcome.isMessage && !operation.outcome.throwsLoss
      || operation.outcome.errno == .wouldBlock
      || operation.outcome.errno == .canceled
    {
      return
    }
    keep(operation.takeOutcome(), inFront: true)
    operation.outcome.errno = .wouldBlock
  }

  /// Nothing stands in front of the tasks that wait for a message any more: they get what is there.
  func serveWaiters() {
    while multishot.hasWaiters, receiveInFront == nil, let outcome = takePrefetched() {
      deliver(outcome, inFront: true)
    }
  }
}

/// What is left of a piece of a stream, on its way back to the loop's thread.
final class UnreadPiece: Sendable {
  private let piece: Mutex<OperationOutcome?>

  init(_ piece: consuming OperationOutcome) { self.piece = Mutex(piece) }

  func take() -> OperationOutcome? { piece.withLock { $0.take() } }
}

extension OpenSocket {
  /// The next message, if one has been received ahead; at most `room` bytes of it.
  func takePrefetched(room: Int = .max) -> OperationOutcome? {
    guard let message = popPrefetched(room: room) else { return nil }
    let outcome = message.takeOutcome()
    message.recycle(on: core)
    return outcome
  }

  /// The same as it is: an operation that has ended.
  private func popPrefetched(room: Int) -> Operation? {
    guard let first = multishot.firstPrefetched else { return nil }
    if kind == .stream, first.outcome.unreadCount > room {
      let front = first.outcome.takeFront(room)
      multishot.noteTaken(front.descriptors.count)
      return core.makeMessage(front)
    }
    _ = multishot.popPrefetched()
    if cut(&first.outcome, to: room) { noteLoss(&first.outcome) }
    if multishot.isIdle { isReceivingAhead = false }
    return first
  }

  /// A copy of the next message, if one has been received ahead; at most `room` bytes of it. The
  /// message stays the next.
  func copyPrefetched(room: Int = .max) -> OperationOutcome? {
    guard let first = multishot.firstPrefetched else { return nil }
    return copy(first.outcome, room: room)
  }

  func copy(_ outcome: borrowing OperationOutcome, room: Int) -> OperationOutcome {
    var copy = outcome.copy(room: kind == .stream ? room : .max)
    core.noteReceived(copy.descriptors.count)
    // What is missing in a copy is not lost.
    _ = cut(&copy, to: room)
    return copy
  }

  /// The next message of those received ahead, or a copy of it, for a receive that comes now: nil
  /// if it is empty, or others come first.
  func nextPrefetched(copying: Bool, room: Int) -> Operation? {
    guard isPrefetchedNext else { return nil }
    guard copying else { return popPrefetched(room: room) }
    guard let copy = copyPrefetched(room: room) else { return nil }
    return core.makeMessage(copy)
  }

  /// Whether a receive that comes now finds something that was received ahead.
  var isPrefetchedNext: Bool { multishot.hasPrefetched && receiveInFront == nil }

  /// Whether the next that was received ahead is a message that will not be thrown, and not the end
  /// or an error.
  var hasPrefetchedMessage: Bool {
    multishot.firstPrefetched.map { $0.isMessage && !$0.outcome.throwsLoss } ?? false
  }

  func discardPrefetched() {
    while let message = multishot.popPrefetched() { message.discard(on: core) }
  }

  /// Cuts a message received ahead that does not fit into the caller's memory, as the kernel does.
  func cut(_ outcome: inout OperationOutcome, to room: Int) -> Bool {
    guard kind != .stream, outcome.payload.count > room else { return false }
    outcome.cut(to: room)
    return true
  }
}
