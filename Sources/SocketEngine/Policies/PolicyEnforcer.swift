// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
internal import Synchronization

/// Applies a socket's policy.
///
/// `@unchecked Sendable`: ``policy`` is used only on the loop's thread; messages may use the rest
/// on any thread, when they are dropped there.
final class PolicyEnforcer: @unchecked Sendable {
  var policy: ReceivePolicy
  /// Closes descriptors that are not admitted or not taken.
  let closing: ClosingQueue
  private let held = Atomic(0)

  init(_ policy: ReceivePolicy, closing: ClosingQueue) {
    self.policy = policy
    self.closing = closing
  }

  /// Whether so many descriptors wait to be closed that receiving must stop.
  var hasTooManyUnclosed: Bool { closing.isFull(bound: ClosingLimits.forPeer) }
  var permitsReceivingAhead: Bool { policy.maximumDescriptorsHeld == nil }

  func hold(_ count: Int) {
    if count == 0 { return }
    let held = self.held.add(count, ordering: .relaxed).newValue
    assert(held >= 0, "Messages hold \(held) descriptors")
  }

  /// Evaluates a message that has arrived: closes descriptors that the policy does not admit, and
  /// records the result.
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

/// A policy's evaluation of one message, and the message's share of the descriptors that messages
/// of its socket hold. It ends with the message.
package final class PolicyEvaluation: Sendable {
  /// The number of descriptors that were closed because there were too many.
  package let surplus: Int
  /// The descriptors that were closed because they are not admitted.
  package let refused: [RefusedDescriptor]
  /// The error thrown in place of the message, which then has no descriptors.
  package let error: SocketError?
  /// How many of the received descriptors were closed.
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

  /// Creates an evaluation for a copy of the message that holds `count` descriptors.
  func copy(holding count: Int) -> PolicyEvaluation {
    PolicyEvaluation(
      enforcer, surplus: surplus, refused: refused, error: error, closed: 0, held: count)
  }

  /// Notes that `count` of the message's descriptors have been taken.
  package func handedOver(_ count: Int) {
    let left = held.subtract(count, ordering: .relaxed).newValue
    assert(left >= 0, "More descriptors were taken from a message than it held")
    enforcer.hold(-count)
  }

  /// Closes descriptors that were not taken, on a thread that may block. Callable from any thread.
  package func discard(_ descriptors: inout OwnedFds) { enforcer.closing.close(&descriptors) }

  /// Closes the descriptors of a value that ends.
  package func discard(_ descriptors: consuming OwnedFds) { enforcer.closing.close(&descriptors) }
}
