// SPDX-License-Identifier: Apache-2.0
public import Ancillary

/// A descriptor that a peer sent and the ``ReceivePolicy`` does not admit. It has been closed.
public struct RefusedDescriptor: Sendable, Hashable {
  /// Its place in the message, counted from 0, as it was sent.
  public let position: Int
  /// What it was.
  public let facts: DescriptorFacts
  /// What was wrong with it.
  public let reason: Reason

  public enum Reason: String, Sendable {
    /// No rule admits this kind.
    case kind = "not of a kind that is admitted"
    /// A rule admits the kind, but it may be read, written, or only named, other than the rule
    /// says.
    case access = "opened in a way that is not admitted"
    /// A rule admits it, but with more seals.
    case seals = "not sealed as is required"
  }
}

extension RefusedDescriptor: CustomStringConvertible {
  public var description: String { "descriptor \(position), a \(facts), is \(reason.rawValue)" }
}
