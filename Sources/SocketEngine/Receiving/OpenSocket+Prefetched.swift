// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import DequeModule
internal import Synchronization
internal import SystemPackage

// Results that go back to the front of the prefetched messages: bytes that were not used, and an
// end or an error that a receive found but does not report. While there are such results, no
// receive goes to the kernel, which holds only later data.

extension OpenSocket {
  /// Puts back the piece that was last received from the stream. The next receive gets it, or the
  /// one that waits.
  func unread(_ piece: consuming OperationOutcome) {
    guard isOpen else { return piece.discard() }
    guard let receive = receiveInFront else { return deliver(piece, inFront: true) }
    keep(piece, inFront: true)
    // The receive waits in the kernel for later bytes. When it has ended, it takes these.
    core.stop(receive, .bytesUnread)
  }

  private func keep(_ outcome: consuming OperationOutcome, inFront: Bool) {
    multishot.keep(core.makeMessage(outcome), inFront: inFront)
    isReceivingAhead = true
  }

  /// Called when a receive has ended after bytes were put back during its time in the kernel: the
  /// bytes come first, and the receive's own result follows them.
  func putInOrder(_ operation: Operation) {
    guard operation.request.receivesMessages else { return }
    switch operation.outcome.errno {
    case .canceled where operation.life.stopReason != .bytesUnread: return
    case .canceled, .wouldBlock: break
    // The kernel reports an error only once, even to a peek.
    case nil where operation.request.isPeek: operation.takeOutcome().discard()
    default: keep(operation.takeBroughtOutcome(), inFront: false)
    }
    operation.outcome = nextPrefetched(for: operation)!
  }

  /// What a receive finds here when its turn comes; nil if it must go to the kernel.
  func prefetchedOutcome(for operation: Operation) -> OperationOutcome? {
    operation.request.receivesMessages && multishot.hasPrefetched
      ? nextPrefetched(for: operation) : nil
  }

  private func nextPrefetched(for operation: Operation) -> OperationOutcome? {
    operation.request.isPeek
      ? copyPrefetched(room: operation.receiveRoom) : takePrefetched(room: operation.receiveRoom)
  }

  /// Keeps an end, an error or an incomplete message that a try has found. A try reports none of
  /// these; the next receive finds them, even one that already waits.
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

  /// Delivers prefetched messages to waiting tasks, now that no single receive comes before them.
  func serveWaiters() {
    while multishot.hasWaiters, receiveInFront == nil, let outcome = takePrefetched() {
      deliver(outcome, inFront: true)
    }
  }
}

/// The rest of a stream's piece, on its way back to the loop's thread.
final class UnreadPiece: Sendable {
  private let piece: Mutex<OperationOutcome?>

  init(_ piece: consuming OperationOutcome) { self.piece = Mutex(piece) }

  func take() -> OperationOutcome? { piece.withLock { $0.take() } }
}

extension OpenSocket {
  /// Takes the next prefetched message, or at most `room` bytes of it; nil if there is none.
  func takePrefetched(room: Int = .max) -> OperationOutcome? {
    guard let message = popPrefetched(room: room) else { return nil }
    let outcome = message.takeOutcome()
    message.recycle(on: core)
    return outcome
  }

  /// Takes the next prefetched message as an operation that has ended.
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

  /// Copies the next prefetched message, or at most `room` bytes of it. The message itself stays.
  func copyPrefetched(room: Int = .max) -> OperationOutcome? {
    guard let first = multishot.firstPrefetched else { return nil }
    return copy(first.outcome, room: room)
  }

  func copy(_ outcome: borrowing OperationOutcome, room: Int) -> OperationOutcome {
    var copy = outcome.copy(room: kind == .stream ? room : .max)
    core.noteReceived(copy.descriptors.count)
    // Truncating a copy loses nothing.
    _ = cut(&copy, to: room)
    return copy
  }

  /// The next prefetched message, or a copy of it, for a new receive. Nil if there is none or other
  /// receives come first.
  func nextPrefetched(copying: Bool, room: Int) -> Operation? {
    guard isPrefetchedNext else { return nil }
    guard copying else { return popPrefetched(room: room) }
    guard let copy = copyPrefetched(room: room) else { return nil }
    return core.makeMessage(copy)
  }

  /// Whether a new receive would get a prefetched message.
  var isPrefetchedNext: Bool { multishot.hasPrefetched && receiveInFront == nil }

  /// Whether the next prefetched result is a message that will not throw, not the end or an error.
  var hasPrefetchedMessage: Bool {
    multishot.firstPrefetched.map { $0.isMessage && !$0.outcome.throwsLoss } ?? false
  }

  func discardPrefetched() {
    while let message = multishot.popPrefetched() { message.discard(on: core) }
  }

  /// Truncates a prefetched message that does not fit into the caller's memory, as the kernel
  /// would.
  func cut(_ outcome: inout OperationOutcome, to room: Int) -> Bool {
    guard kind != .stream, outcome.payload.count > room else { return false }
    outcome.cut(to: room)
    return true
  }
}

extension Operation {
  /// Moves the outcome of a receive out. Bytes in the caller's memory are copied to the payload.
  fileprivate func takeBroughtOutcome() -> OperationOutcome {
    var brought = takeOutcome()
    if unsafe buffers.payload == nil, let start = unsafe memory.payloadStart {
      // SAFETY: the caller keeps its memory until the task continues, and the kernel has filled
      // this many bytes.
      brought.payload = unsafe [UInt8](
        UnsafeRawBufferPointer(start: start, count: brought.byteCount))
    }
    return brought
  }
}
