// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

// What goes back to the front of what was received ahead: bytes that nobody used, and an end or an
// error that a receive found and does not report. While there is something, no receive goes to the
// kernel, which has what comes later.

extension OpenSocket {
  /// The next receive, or the one that waits, gets these bytes, which were the last that was
  /// received from the stream.
  func putBack(_ bytes: ArraySlice<UInt8>) {
    guard isOpen else { return }
    guard let receive = receiveInFront else {
      return deliver(OperationOutcome(bytes: bytes), inFront: true)
    }
    keep(OperationOutcome(bytes: bytes), inFront: true)
    // It waits in the kernel, for later bytes. When it has ended, it takes these.
    core.stop(receive, .bytesPutBack)
  }

  private func keep(_ outcome: consuming OperationOutcome, inFront: Bool) {
    receiver.keep(core.makeMessage(outcome), inFront: inFront)
    isReceivingAhead = true
  }

  /// A receive has ended, and bytes have been put back since it was handed to the kernel: they come
  /// first, and behind them what it has brought.
  func putInOrder(_ operation: Operation) {
    guard operation.request.receivesMessages else { return }
    switch operation.outcome.errno {
    case .canceled where operation.life.stopReason != .bytesPutBack: return
    case .canceled, .wouldBlock: break
    // The kernel tells an error once, also to one that only looks.
    case nil where operation.request.isPeek: break
    default: keep(operation.takeBroughtOutcome(), inFront: false)
    }
    operation.outcome = nextAhead(for: operation)!
  }

  /// What a receive whose turn has come finds here; nil if it is to go to the kernel.
  func messageAhead(for operation: Operation) -> OperationOutcome? {
    operation.request.receivesMessages && !receiver.readAhead.isEmpty
      ? nextAhead(for: operation) : nil
  }

  private func nextAhead(for operation: Operation) -> OperationOutcome? {
    operation.request.isPeek
      ? copyReceivedAhead(room: operation.receiveRoom)
      : takeReceivedAhead(room: operation.receiveRoom)
  }

  /// A receive that only looked whether there is something reports no end and no error: the next
  /// one finds it. Also one that waits behind it.
  func keepFailure(of operation: Operation) {
    if operation.outcome.isMessage || operation.outcome.errno == .wouldBlock
      || operation.outcome.errno == .canceled
    {
      return
    }
    keep(operation.takeOutcome(), inFront: true)
    operation.outcome.errno = .wouldBlock
  }

  /// Nothing stands in front of the tasks that wait for a message any more: they get what is there.
  func serveWaiters() {
    while receiver.hasWaiters, receiveInFront == nil, let outcome = takeReceivedAhead() {
      deliver(outcome, inFront: true)
    }
  }
}
