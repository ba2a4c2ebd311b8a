// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CMessageSockets
import SystemPackage

@testable import SocketEngine

/// What the kernel has delivered and no receive has returned yet, and what each has to return.
final class Expectations {
  private let kind: SocketKind
  private let policy: ReceivePolicy
  private var pending: [Delivery] = []
  /// Of receives that messages do not pass, or that leave them where they are.
  private var apart: [Delivery] = []

  init(_ kind: SocketKind, _ policy: ReceivePolicy) {
    self.kind = kind
    self.policy = policy
  }

  func add(_ delivery: Delivery, to operation: SubmittedOperation) {
    if operation.flags & (cms_msg_peek | cms_msg_errqueue) != 0 {
      apart.append(delivery)
    } else {
      pending.append(delivery)
    }
  }

  /// A receive has ended with these.
  func take(_ arrivals: [Arrival], of receive: Receive, wasCancelled: Bool) {
    for arrival in arrivals where !isOwnFailure(arrival, of: receive, wasCancelled: wasCancelled) {
      if receive.way == .peek || receive.way == .errorQueue {
        guard let delivery = apart.popLast() ?? (receive.way == .peek ? pending.first : nil) else {
          fatalError("made up: \(arrival)")
        }
        compare(arrival, delivery, room: nil)
      } else {
        takeNext(arrival, room: receive.room)
      }
    }
    check(apart.isEmpty, "a receive has lost what it was for")
  }

  private func takeNext(_ arrival: Arrival, room: Int?) {
    check(!pending.isEmpty, "made up: \(arrival)")
    let delivery = pending.removeFirst()
    compare(arrival, delivery, room: room)
    // What was received ahead is cut on its way to the caller's memory.
    if let room, kind == .stream, delivery.payload.count > room {
      pending.insert(delivery.rest(after: room), at: 0)
    }
  }

  /// Whether it failed for a reason of its own, and took nothing.
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

  private func compare(_ arrival: Arrival, _ delivery: Delivery, room: Int?) {
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
        checkOutcome(outcome, delivery, verdict, isTruncated: isTruncated)
      } else {
        check(
          delivery.errno != nil && error.errno == delivery.errno,
          "a receive failed with \(error) instead of \(delivery)")
      }
    case .message(let message):
      check(
        delivery.errno == nil && !verdict.isViolation, "a message instead of an error: \(delivery)")
      check(kind != .stream || !mayBeEnd(delivery), "a message instead of the end: \(delivery)")
      check(
        message.bytes == Array(delivery.payload.prefix(cut)),
        "other bytes: \(message.bytes), \(delivery.payload)")
      // A receive that stands in for a multishot receive asks how long the message was, which its
      // caller has not.
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
        check(flags == ReceiveFlags(systemFlags: delivery.flags), "other flags: \(flags)")
      }
      checkOutcome(message.outcome, delivery, verdict, isTruncated: isTruncated)
    }
  }

  private func checkOutcome(
    _ outcome: ReceiveOutcome, _ delivery: Delivery, _ verdict: Verdict, isTruncated: Bool
  ) {
    check(
      outcome.isPayloadTruncated == isTruncated, "truncation was not told, or made up: \(delivery)")
    check(
      outcome.isControlTruncated == (delivery.flags & cms_msg_ctrunc != 0),
      "missing control data was not told, or made up: \(delivery)")
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
