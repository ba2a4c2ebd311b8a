// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import Synchronization

/// A socket's policy at work.
///
/// `@unchecked Sendable`: ``policy`` is used on the loop's thread only; the rest may be used from
/// any, by messages that end there.
final class PolicyEnforcer: @unchecked Sendable {
  var policy: ReceivePolicy
  let closing = ClosingQueue()
  private let held = Atomic(0)

  init(_ policy: ReceivePolicy) { self.policy = policy }

  /// How many descriptors may wait to be closed before receiving stops.
  static let maximumUnclosed = 1024

  var hasTooManyUnclosed: Bool { closing.count >= Self.maximumUnclosed }
  var permitsReceivingAhead: Bool { policy.descriptorsHeld == nil }

  func hold(_ count: Int) { if count != 0 { held.add(count, ordering: .relaxed) } }

  /// A message has arrived: closes what is not admitted, and notes what became of it.
  func judge(_ outcome: inout OperationOutcome) {
    let arrived = outcome.descriptors.count
    let isTruncated = outcome.messageFlags & (cms_msg_trunc | cms_msg_ctrunc) != 0
    guard arrived > 0 || isTruncated || !(outcome.extras?.failures.isEmpty ?? true) else { return }
    var doomed = OwnedFds()
    let surplus = moveSurplus(from: &outcome.descriptors, to: &doomed)
    let refused = moveRefused(from: &outcome.descriptors, to: &doomed)
    let error = violation(outcome.report(surplus: surplus, refused: refused))
    if error != nil {
      while let descriptor = outcome.descriptors.takeFirst() { doomed.append(descriptor) }
      _ = outcome.extras?.takeProcess()
    }
    outcome.judgement = PolicyJudgement(
      self, surplus: surplus, refused: refused, error: error, closed: doomed.count,
      held: outcome.descriptors.count)
    closing.close(&doomed)
  }

  /// A message that had arrived whole was cut on its way to the caller's memory. How many
  /// descriptors are closed for that.
  func judgeTruncation(_ outcome: inout OperationOutcome) -> Int {
    let surplus = outcome.judgement?.surplus ?? 0
    let refused = outcome.judgement?.refused ?? []
    guard let error = violation(outcome.report(surplus: surplus, refused: refused)) else {
      return 0
    }
    let closed = outcome.descriptors.count
    closing.close(&outcome.descriptors)
    outcome.judgement = PolicyJudgement(
      self, surplus: surplus, refused: refused, error: error, closed: 0, held: 0)
    return closed
  }

  private func moveSurplus(from descriptors: inout OwnedFds, to doomed: inout OwnedFds) -> Int {
    let free = policy.descriptorsHeld.map { max(0, $0 - held.load(ordering: .relaxed)) } ?? .max
    let surplus = max(0, descriptors.count - min(policy.descriptorsPerMessage, free))
    for _ in 0..<surplus { doomed.append(descriptors.popLast()!) }
    return surplus
  }

  private func moveRefused(from descriptors: inout OwnedFds, to doomed: inout OwnedFds)
    -> [RefusedDescriptor]
  {
    guard policy.allowed != nil else { return [] }
    var admitted = OwnedFds()
    var refused: [RefusedDescriptor] = []
    var position = 0
    while let descriptor = descriptors.takeFirst() {
      let facts = descriptor.facts
      if let reason = policy.objection(to: facts) {
        refused.append(RefusedDescriptor(position: position, facts: facts, reason: reason))
        doomed.append(descriptor)
      } else {
        admitted.append(descriptor)
      }
      position += 1
    }
    swap(&admitted, &descriptors)
    return refused
  }

  private func violation(_ outcome: ReceiveOutcome) -> SocketError? {
    let isViolated =
      outcome.surplus > 0 && policy.surplus == .throwError
      || !outcome.refused.isEmpty && policy.refused == .throwError
      || outcome.isPayloadTruncated && policy.payloadTruncation == .throwError
      || (outcome.isControlTruncated || !outcome.failures.isEmpty)
        && policy.controlTruncation == .throwError
    return isViolated
      ? SocketError(.policyViolated, .receive, detail: outcome.description, outcome: outcome) : nil
  }
}

extension OperationOutcome {
  borrowing func report(surplus: Int, refused: [RefusedDescriptor]) -> ReceiveOutcome {
    ReceiveOutcome(
      flags: messageFlags, failures: extras?.failures ?? [], loss: extras?.controlLoss,
      surplus: surplus, refused: refused)
  }
}
