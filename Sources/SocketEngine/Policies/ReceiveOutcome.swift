// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets

/// Whether a message arrived whole, and if not, what is missing. Whatever did arrive, and the
/// socket's ``ReceivePolicy`` admits, is kept.
public struct ReceiveOutcome: Sendable, Equatable {
  /// The message was longer than the buffer, and the rest is lost (seqpacket and datagram; a stream
  /// keeps it). The C name is `MSG_TRUNC`.
  public let isPayloadTruncated: Bool

  /// Why control data is missing, descriptors or others; nil if none is. At least one thing is
  /// missing; the kernel does not say which, nor how many. The C name is `MSG_CTRUNC`.
  public let controlLoss: ControlLoss?

  /// Descriptors that the kernel replaced by an error, by position.
  public let failures: [DescriptorFailure]

  /// How many descriptors at the end of the message were closed, because they were more than the
  /// policy admits.
  public let surplus: Int

  /// Descriptors that were closed because the policy does not admit them. Those behind them have
  /// moved up.
  public let refused: [RefusedDescriptor]

  /// Nothing is missing.
  public static let complete = ReceiveOutcome(flags: 0, failures: [], loss: nil)

  /// Whether ``controlLoss`` has a reason.
  public var isControlTruncated: Bool { controlLoss != nil }

  package init(
    flags: Int32, failures: [DescriptorFailure], loss: ControlLoss?, surplus: Int = 0,
    refused: [RefusedDescriptor] = []
  ) {
    isPayloadTruncated = flags & cms_msg_trunc != 0
    controlLoss = flags & cms_msg_ctrunc == 0 ? nil : loss ?? .unknown
    self.failures = failures
    self.surplus = surplus
    self.refused = refused
  }

  /// What the receiver of a message is told.
  package init(flags: Int32, _ extras: MessageExtras?) {
    self.init(
      flags: flags, failures: extras?.failures ?? [], loss: extras?.controlLoss,
      surplus: extras?.judgement?.surplus ?? 0,
      refused: extras?.judgement?.refused ?? [])
  }
}

extension ReceiveOutcome: CustomStringConvertible {
  public var description: String {
    var parts: [String] = []
    if isPayloadTruncated { parts.append("the payload was longer than the buffer") }
    if let controlLoss { parts.append("control data is missing: \(controlLoss)") }
    for failure in failures {
      parts.append("descriptor \(failure.position) did not arrive: \(failure.errno)")
    }
    if surplus > 0 { parts.append("\(surplus) descriptors too many") }
    parts += refused.map(\.description)
    return parts.isEmpty ? "complete" : parts.joined(separator: "; ")
  }
}
