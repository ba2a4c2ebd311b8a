// SPDX-License-Identifier: Apache-2.0
internal import Ancillary

/// What a peer may send: how many descriptors, of which kinds, and what becomes of messages that do
/// not keep to it.
///
/// Given to a socket (``MessageSocket/setReceivePolicy(_:)``,
/// ``MessageSocket/messages(window:policy:)``), or to a listener for all of its connections. It
/// holds for every way of receiving, from the moment a message arrives: what it does not admit is
/// closed before anybody sees it.
/// ```swift
/// let policy = ReceivePolicy(maximumDescriptorsPerMessage: 1, allowed: [.regularFile.requiring(.read).forbidding(.write)])
/// ```
/// What a socket with a policy closes, and what nobody took of its messages, is closed on another
/// thread: close(2) of a hostile descriptor (a FUSE file, a lingering socket) may wait for as long
/// as the peer likes. While too many descriptors of one socket wait to be closed, its receives
/// throw `policyViolated`: 1,024, or a quarter of the soft `RLIMIT_NOFILE` if that is less; also
/// while half of that limit waits in the whole process.
///
/// The default, `ReceivePolicy()`, admits everything, and costs nothing.
public struct ReceivePolicy: Sendable, Hashable {
  /// What happens to a message that does not keep to a rule.
  public enum Reaction: Sendable {
    /// It is delivered without what is not admitted, and ``DeliveryStatus`` says so.
    case report
    /// The receive throws ``SocketError`` with the ``SocketError/outcome``. A message with
    /// descriptors that are not admitted is dropped with all of its descriptors, and the code is
    /// `policyViolated`. One of which only something is missing is kept in the error:
    /// `messageIncomplete`. Later messages are not touched.
    case throwError
  }

  /// How many descriptors a message may carry, 0 to 253; more are closed, from the end.
  ///
  /// With 0 the kernel is asked to refuse them, so that the sender gets `EPERM` (`SO_PASSRIGHTS`,
  /// Linux 6.16); older kernels deliver them, and so does any with what was sent before; they are
  /// closed then.
  public var maximumDescriptorsPerMessage: Int

  /// How many descriptors the socket's messages may hold together: those in messages that were
  /// handed out and from which they have not been taken, and in messages received ahead. Nil: no
  /// limit. What goes beyond is surplus of the message that brings it.
  ///
  /// A message holds until its descriptors are taken or it is dropped. With this limit nothing is
  /// received ahead (``MessageSocket/messages``), so that a fast sender alone cannot exceed it.
  /// What is received into the caller's memory (``ReceivedEnvelope``) counts as taken at once.
  public var maximumDescriptorsHeld: Int?

  /// What to do with a message that has more descriptors than admitted.
  public var onSurplus: Reaction = .report

  /// Which descriptors are admitted: those that any of the rules admits. Nil: all. Looking costs
  /// about 1 to 5 µs for each descriptor, on the loop, and never waits (``OwnedFd/facts``).
  public var allowed: [AllowedDescriptor]?

  /// What to do with a message that has a descriptor that is not admitted. With ``Reaction/report``
  /// the descriptors behind it move up, so that positions change their meaning: look at
  /// ``DeliveryStatus/refused`` then.
  public var onRefusal: Reaction = .throwError

  /// What to do with a message whose payload is longer than the buffer: by default it is thrown, in
  /// an error that has what arrived (``SocketError/Code/messageIncomplete``). With
  /// ``Reaction/report`` it is returned, and only its ``DeliveryStatus`` says so. (`MSG_TRUNC`; not
  /// on streams, which keep the rest.)
  public var onPayloadTruncation: Reaction = .throwError

  /// What to do with a message of which control data is missing,
  /// ``DeliveryStatus/controlTruncation`` or ``DeliveryStatus/failures``: by default it is thrown,
  /// as for ``onPayloadTruncation``. (`MSG_CTRUNC`)
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

  /// Everything is admitted, and a message of which something is missing is returned all the same:
  /// for a relay, which passes on what it gets and looks at each ``DeliveryStatus``.
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
