// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
internal import Synchronization

/// A socket's policy at work.
///
/// `@unchecked Sendable`: ``policy`` is used on the loop's thread only; the rest may be used from
/// any, by messages that end there.
final class PolicyEnforcer: @unchecked Sendable {
  var policy: ReceivePolicy
  /// For what is not admitted, and what nobody takes.
  let closing: ClosingQueue
  private let held = Atomic(0)

  init(_ policy: ReceivePolicy, closing: ClosingQueue) {
    self.policy = policy
    self.closing = closing
  }

  /// Whether so many descriptors wait to be closed that receiving is to stop.
  var hasTooManyUnclosed: Bool { closing.isFull(bound: ClosingLimits.forPeer) }
  var permitsReceivingAhead: Bool { policy.maximumDescriptorsHeld == nil }

  func hold(_ count: Int) {
    if count == 0 { return }
    let held = self.held.add(count, ordering: .relaxed).newValue
    assert(held >= 0, "Messages hold \(held) descriptors")
  }

  /// A message has arrived: closes what is not admitted, and notes what became of it.
  func evaluate(_ outcome: inout OperationOutcome) {
    let arrived = outcome.descriptors.count
    guard arrived > 0 else { return }
    var toClose = OwnedFds()
    let surplus = moveSurplus(from: &outcome.descriptors, to: &toClose)
    let refused = moveRefused(from: &outcome.descriptors, to: &toClose)
    let error = violation(outcome.report(surplus: surplus, refused: refused))
    if error != nil {
      while let descriptor = outcome.descriptors.takeFirst() { toClose.append(descriptor) }
      _ = outcome.metadata?.takeProcess()
    }
    outcome.evaluation = PolicyEvaluation(
      self, surplus: surplus, refused: refused, error: error, closed: toClose.count,
      held: outcome.descriptors.count)
    closing.close(&toClose)
  }

  private func moveSurplus(from descriptors: inout OwnedFds, to toClose: inout OwnedFds) -> Int {
    let free =
      policy.maximumDescriptorsHeld.map { max(0, $0 - held.load(ordering: .relaxed)) } ?? .max
    let surplus = max(0, descriptors.count - min(policy.maximumDescriptorsPerMessage, free))
    for _ in 0..<surplus { toClose.append(descriptors.takeLast()!) }
    return surplus
  }

  private func moveRefused(from descriptors: inout OwnedFds, to toClose: inout OwnedFds)
    -> [RefusedDescriptor]
  {
    guard policy.allowed != nil else { return [] }
    var admitted = OwnedFds()
    var refused: [RefusedDescriptor] = []
    var position = 0
    while let descriptor = descriptors.takeFirst() {
      let facts = descriptor.facts
      if let reason = policy.violation(by: facts) {
        refused.append(RefusedDescriptor(position: position, facts: facts, reason: reason))
        toClose.append(descriptor)
      } else {
        admitted.append(descriptor)
      }
      position += 1
    }
    swap(&admitted, &descriptors)
    return refused
  }

  private func violation(_ outcome: DeliveryStatus) -> SocketError? {
    let isViolated =
      outcome.surplus > 0 && policy.onSurplus == .throwError
      || !outcome.refused.isEmpty && policy.onRefusal == .throwError
    return isViolated
      ? SocketError(.policyViolated, .receive, detail: outcome.description, outcome: outcome) : nil
  }
}

extension OperationOutcome {
  borrowing func report(surplus: Int, refused: [RefusedDescriptor]) -> DeliveryStatus {
    DeliveryStatus(
      flags: messageFlags, failures: metadata?.failures ?? [], loss: metadata?.controlTruncation,
      surplus: surplus,
      refused: refused, fullLength: metadata?.fullLength)
  }
}

/// What a policy has said about one message, and the message's share of what its socket's messages
/// hold. Ends with the message.
package final class PolicyEvaluation: Sendable {
  /// Descriptors that were closed because they were too many.
  package let surplus: Int
  /// Descriptors that were closed because they are not admitted.
  package let refused: [RefusedDescriptor]
  /// Thrown in place of the message, which has no descriptors then.
  package let error: SocketError?
  /// How many descriptors came and were closed.
  package let closed: Int

  private let enforcer: PolicyEnforcer
  private let held: Atomic<Int>

  init(
    _ enforcer: PolicyEnforcer, surplus: Int, refused: [RefusedDescriptor], error: SocketError?,
    closed: Int, held: Int
  ) {
    self.enforcer = enforcer
    self.surplus = surplus
    self.refused = refused
    self.error = error
    self.closed = closed
    self.held = Atomic(held)
    enforcer.hold(held)
  }

  deinit { enforcer.hold(-held.load(ordering: .relaxed)) }

  /// The same for a copy of the message, with `count` descriptors of its own.
  func copy(holding count: Int) -> PolicyEvaluation {
    PolicyEvaluation(
      enforcer, surplus: surplus, refused: refused, error: error, closed: 0, held: count)
  }

  /// So many of the message's descriptors have been taken.
  package func handedOver(_ count: Int) {
    let left = held.subtract(count, ordering: .relaxed).newValue
    assert(left >= 0, "More descriptors were taken from a message than it held")
    enforcer.hold(-count)
  }

  /// Nobody took these: closes them where it does no harm. From any thread.
  package func discard(_ descriptors: inout OwnedFds) { enforcer.closing.close(&descriptors) }

  /// The same for those of a value that ends.
  package func discard(_ descriptors: consuming OwnedFds) { enforcer.closing.close(&descriptors) }
}
