// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import Synchronization

/// What a policy has said about one message, and the message's share of what its socket's messages
/// hold. Ends with the message.
package final class PolicyJudgement: Sendable {
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
  func copy(holding count: Int) -> PolicyJudgement {
    PolicyJudgement(
      enforcer, surplus: surplus, refused: refused, error: error, closed: 0, held: count)
  }

  /// So many of the message's descriptors have been taken.
  package func handedOver(_ count: Int) {
    held.subtract(count, ordering: .relaxed)
    enforcer.hold(-count)
  }

  /// Nobody took these: closes them where it does no harm. From any thread.
  package func discard(_ descriptors: inout OwnedFds) { enforcer.closing.close(&descriptors) }
}
