// SPDX-License-Identifier: Apache-2.0
internal import Ancillary

/// The rules for messages from a peer: how many descriptors they may carry, of which kinds, and how
/// messages that violate a rule are treated.
///
/// A policy is set on a socket (``MessageSocket/setReceivePolicy(_:)``,
/// ``MessageSocket/messages(window:policy:)``), or on a listener for all of its connections. It
/// applies to every way of receiving, from the moment a message arrives: descriptors that it does
/// not admit are closed before the program can access them.
/// ```swift
/// let policy = ReceivePolicy(maximumDescriptorsPerMessage: 1, allowed: [.regularFile.requiring(.read).forbidding(.write)])
/// ```
/// On a socket with a policy, another thread closes the descriptors that are not admitted, and
/// those that are not taken from their messages: close(2) of a hostile descriptor (a FUSE file, a
/// lingering socket) may wait for as long as the peer chooses. While too many descriptors of one
/// socket wait to be closed, its receives throw `policyViolated`: 1,024, or a quarter of the soft
/// `RLIMIT_NOFILE` if that is less; also while half of that limit waits in the whole process.
///
/// The default, `ReceivePolicy()`, admits everything, and costs nothing.
public struct ReceivePolicy: Sendable, Hashable {
  /// The treatment of a message that violates a rule.
  public enum Reaction: Sendable {
    /// The message is delivered without the descriptors that are not admitted, and its
    /// ``DeliveryStatus`` reports them.
    case report
    /// The receive throws ``SocketError`` with the ``SocketError/outcome``. A message with
    /// descriptors that are not admitted is dropped with all of its descriptors, and the code is
    /// `policyViolated`. A message that is only incomplete is kept in the error, and the code is
    /// `messageIncomplete`. Later messages are not affected.
    case throwError
  }

  /// How many descriptors a message may carry, 0 to 253; more are closed, from the end.
  ///
  /// With 0, the kernel is asked to refuse descriptors, so that the sender gets `EPERM`
  /// (`SO_PASSRIGHTS`, Linux 6.16). Older kernels deliver them, as does every kernel for messages
  /// that were sent earlier; those descriptors are closed.
  public var maximumDescriptorsPerMessage: Int

  /// How many descriptors the socket's messages may hold together: those in messages that were
  /// handed out and from which they have not been taken, and in messages received ahead. Nil: no
  /// limit. Descriptors beyond the limit are surplus of the message that carries them.
  ///
  /// A message holds its descriptors until they are taken or the message is dropped. With this
  /// limit, nothing is received ahead (``MessageSocket/messages``), so that a fast sender alone
  /// cannot exceed it. Descriptors that are received with a ``ReceivedEnvelope`` count as taken
  /// immediately.
  public var maximumDescriptorsHeld: Int?

  /// The treatment of a message that has more descriptors than admitted.
  public var onSurplus: Reaction = .report

  /// Which descriptors are admitted: those that any of the rules admits. Nil: all. The check takes
  /// about 1 to 5 µs for each descriptor on the loop, and never waits (``OwnedFd/facts``).
  public var allowed: [AllowedDescriptor]?

  /// The treatment of a message that has a descriptor that is not admitted. With
  /// ``Reaction/report`` the descriptors behind it move up, so that positions change their meaning:
  /// look at ``DeliveryStatus/refused`` then.
  public var onRefusal: Reaction = .throwError

  /// The treatment of a message whose payload is longer than the buffer: by default the receive
  /// throws ``SocketError/Code/messageIncomplete``, with the part that arrived in the error. With
  /// ``Reaction/report``, the message is returned, and only its ``DeliveryStatus`` reports the
  /// truncation. (`MSG_TRUNC`; not on streams, which keep the rest.)
  public var onPayloadTruncation: Reaction = .throwError

  /// The treatment of a message that lacks control data (``DeliveryStatus/controlTruncation``,
  /// ``DeliveryStatus/failures``): by default the receive throws, as for ``onPayloadTruncation``.
  /// (`MSG_CTRUNC`)
  public var onControlTruncation: Reaction = .throwError

  /// A policy about descriptors; what happens on a violation can be set afterwards.
  ///
  /// - Precondition: `maximumDescriptorsHeld` is not negative. `maximumDescriptorsPerMessage` is
  ///   brought into its range.
  public init(
    maximumDescriptorsPerMessage: Int = 253, maximumDescriptorsHeld: Int? = nil,
    allowed: [AllowedDescriptor]? = nil
  ) {
    precondition(
      maximumDescriptorsHeld ?? 0 >= 0, "A negative number of descriptors cannot be held")
    self.maximumDescriptorsPerMessage = min(
      max(0, maximumDescriptorsPerMessage), ControlMessages.maximumDescriptors)
    self.maximumDescriptorsHeld = maximumDescriptorsHeld
    self.allowed = allowed
  }

  /// No descriptors at all.
  public static var noDescriptors: ReceivePolicy { ReceivePolicy(maximumDescriptorsPerMessage: 0) }

  /// A policy that admits everything and returns incomplete messages instead of throwing. It suits
  /// a relay, which passes on what it receives and checks each ``DeliveryStatus``.
  public static var reportingLoss: ReceivePolicy {
    var policy = ReceivePolicy()
    policy.onPayloadTruncation = .report
    policy.onControlTruncation = .report
    return policy
  }

  var isUnrestricted: Bool { self == ReceivePolicy() }
  package var admitsDescriptors: Bool { maximumDescriptorsPerMessage > 0 }

  /// The reason for which a descriptor is refused; nil if a rule admits it. If no rule does, the
  /// reason of the rule that comes closest to admitting it.
  func violation(by facts: DescriptorFacts) -> RefusedDescriptor.Reason? {
    guard let allowed else { return nil }
    var nearest = RefusedDescriptor.Reason.kind
    for rule in allowed {
      switch rule.violation(by: facts) {
      case nil: return nil
      case .seals: nearest = .seals
      case .access where nearest == .kind: nearest = .access
      default: break
      }
    }
    return nearest
  }
}
