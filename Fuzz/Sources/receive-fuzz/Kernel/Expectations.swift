// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CMessageSockets
import SystemPackage

@testable import SocketEngine

/// The deliveries of the kernel that no receive has returned yet, and the expected result of each.
final class Expectations {
  private let kind: SocketKind
  private let policy: ReceivePolicy
  private var pending: [Delivery] = []
  /// Errors of sockets that preserve message boundaries. They come after messages, whichever
  /// receive the kernel has reported them to, and only once even if the kernel reports them several
  /// times in between.
  private var reported: Set<Errno> = []
  /// Deliveries to receives that are separate from the messages, or that leave the messages in
  /// place.
  private var apart: [Delivery] = []

  init(_ kind: SocketKind, _ policy: ReceivePolicy) {
    self.kind = kind
    self.policy = policy
  }

  func add(_ delivery: Delivery, to operation: SubmittedOperation) {
    let isPlain = operation.flags & (cms_msg_peek | cms_msg_errqueue) == 0
    let keepsPlace = operation.flags & cms_msg_errqueue == 0 && kind != .stream
    if keepsPlace, let errno = delivery.errno {
      reported.insert(errno)
    } else if !isPlain {
      apart.append(delivery)
    } else {
      pending.append(delivery)
    }
  }

  /// Checks the results of a receive that has ended.
  func take(_ arrivals: [Arrival], of receive: Receive, wasCancelled: Bool) {
    for arrival in arrivals where !isOwnFailure(arrival, of: receive, wasCancelled: wasCancelled) {
      if receive.way != .errorQueue, takeError(arrival) {
        // A peek that finds the end while errors are pending throws one of them.
        if receive.way == .peek { apart.removeAll(where: mayBeEnd) }
        continue
      }
      if receive.way == .peek || receive.way == .errorQueue {
        guard let delivery = apart.popLast() ?? (receive.way == .peek ? pending.first : nil) else {
          fatalError("made up: \(arrival)")
        }
        compare(arrival, delivery, of: receive)
      } else {
        takeNext(arrival, of: receive)
      }
    }
    check(
      apart.isEmpty,
      "a receive has lost what it was for: \(apart), of \(receive), which brought \(arrivals)")
  }

  private func takeError(_ arrival: Arrival) -> Bool {
    guard case .failed(let error) = arrival, let error = error as? SocketError,
      error.outcome == nil,
      let errno = error.errno
    else { return false }
    return reported.contains(errno)
  }

  private func takeNext(_ arrival: Arrival, of receive: Receive) {
    check(!pending.isEmpty, "made up: \(arrival)")
    let delivery = pending.removeFirst()
    compare(arrival, delivery, of: receive)
    // A prefetched message is truncated on its way to the caller's memory.
    if let room = receive.room, kind == .stream, delivery.payload.count > room {
      pending.insert(delivery.rest(after: room), at: 0)
    }
  }

  /// Whether the receive failed for a reason of its own, and took nothing.
  private func isOwnFailure(_ arrival: Arrival, of receive: Receive, wasCancelled: Bool) -> Bool {
    guard case .failed(let error) = arrival else { return false }
    if error is CancellationError { return wasCancelled }
    guard let error = error as? SocketError else { return false }
    return switch error.code {
    case .deadlineExceeded: receive.way == .deadline
    // Too many descriptors wait to be closed.
    case .policyViolated: error.outcome == nil
    case .wouldBlock: receive.way == .doNotWait && pending.first?.errno != .wouldBlock
    default: false
    }
  }

  // MARK: Comparing

  private func compare(_ arrival: Arrival, _ delivery: Delivery, of receive: Receive) {
    let room = receive.room
    let cut = room.map { min($0, delivery.payload.count) } ?? delivery.payload.count
    let isCut = kind != .stream && cut < delivery.payload.count
    let isTruncated = delivery.errno == nil && (delivery.flags & cms_msg_trunc != 0 || isCut)
    let isControlTruncated = delivery.flags & cms_msg_ctrunc != 0
    let verdict = Verdict(
      policy, delivery, isTruncated: isTruncated, isControlTruncated: isControlTruncated)
    switch arrival {
    case .end:
      check(
        delivery.errno == nil && !verdict.isViolation && mayBeEnd(delivery),
        "an end that is none: \(delivery)")
    case .failed(let error):
      guard let error = error as? SocketError else { fatalError("a receive failed: \(error)") }
      if let outcome = error.outcome {
        check(verdict.isViolation, "a policy was not violated: \(error)")
        // A message that is dropped on arrival is no longer truncated to the caller's memory.
        let wasCut = outcome.isPayloadTruncated
        checkOutcome(outcome, delivery, verdict, isTruncated: isCut ? wasCut : isTruncated)
      } else {
        check(
          delivery.errno != nil && error.errno == delivery.errno,
          "a receive failed with \(error) instead of \(delivery)")
      }
    case .message(let message):
      check(
        delivery.errno == nil && !verdict.isViolation, "a message instead of an error: \(delivery)")
      check(kind != .stream || !mayBeEnd(delivery), "a message instead of the end: \(delivery)")
      let losesPayload =
        verdict.throwsPayloadLoss && kind != .stream && delivery.flags & cms_msg_errqueue == 0
        && receive.way != .fullLength
      let isThrown = receive.way != .peek && (losesPayload || verdict.throwsControlLoss)
      check(message.isThrown == isThrown, "a loss was not thrown, or made up: \(delivery)")
      check(
        message.bytes == Array(delivery.payload.prefix(cut)),
        "other bytes: \(message.bytes), \(delivery.payload)")
      // A receive in place of a multishot receive asks for the full length, although its caller has
      // not.
      let mayBeOtherLength =
        message.byteCount == delivery.fullLength || message.byteCount == message.bytes.count
      if room == nil {
        check(
          message.byteCount == delivery.byteCount || mayBeOtherLength,
          "\(message.byteCount) bytes instead of \(delivery.byteCount)")
      }
      check(
        message.files == verdict.admitted,
        "descriptors \(message.files) instead of \(verdict.admitted) of \(delivery.control.files)")
      if let process = message.process {
        check(process == delivery.control.process, "a process was missed, or made up")
      }
      if room == nil {
        check(
          message.sender == delivery.sender, "another sender: \(message.sender, default: "none")")
      }
      if let flags = message.flags {
        let expected = ReceiveFlags(systemFlags: delivery.flags | (isCut ? cms_msg_trunc : 0))
        check(flags == expected, "other flags: \(flags)")
      }
      checkOutcome(message.outcome, delivery, verdict, isTruncated: isTruncated)
    }
  }

  private func checkOutcome(
    _ outcome: DeliveryStatus, _ delivery: Delivery, _ verdict: Verdict, isTruncated: Bool
  ) {
    check(
      outcome.isPayloadTruncated == isTruncated, "truncation was missed or made up: \(delivery)")
    check(
      outcome.isControlTruncated == (delivery.flags & cms_msg_ctrunc != 0),
      "missing control data was not reported, or made up: \(delivery)")
    let failures = outcome.failures.map {
      Delivery.Failure(position: $0.position, errno: $0.errno.rawValue)
    }
    check(
      failures == delivery.control.failures,
      "failures \(failures) instead of \(delivery.control.failures)")
    check(
      outcome.surplus == verdict.surplus && outcome.refused.count == verdict.refused,
      "a policy said something else: \(outcome)")
  }

  private func mayBeEnd(_ delivery: Delivery) -> Bool {
    let isEmpty =
      delivery.byteCount == 0 && delivery.control.files.isEmpty && delivery.control.failures.isEmpty
    return isEmpty && kind != .datagram && delivery.flags & cms_msg_errqueue == 0
  }
}
