// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets

/// Whether a message arrived whole, and if not, what is missing. Whatever did arrive, and the
/// socket's ``ReceivePolicy`` admits, is kept.
public struct DeliveryStatus: Sendable, Equatable {
  /// The message was longer than the buffer, and the rest is lost (seqpacket and datagram; a stream
  /// keeps it). The C name is `MSG_TRUNC`.
  public let isPayloadTruncated: Bool

  /// How many bytes a message had that was longer than the buffer; nil if it was not, or if the
  /// kernel has not told it.
  public let fullLength: Int?

  /// Why control data is missing, descriptors or others; nil if none is. At least one thing is
  /// missing; the kernel does not say which, nor how many. The C name is `MSG_CTRUNC`.
  public let controlTruncation: ControlTruncation?

  /// Descriptors that the kernel replaced by an error, by position.
  public let failures: [DescriptorFailure]

  /// How many descriptors at the end of the message were closed, because they were more than the
  /// policy admits.
  public let surplus: Int

  /// Descriptors that were closed because the policy does not admit them. Those behind them have
  /// moved up.
  public let refused: [RefusedDescriptor]

  /// Nothing is missing.
  public static let complete = DeliveryStatus(flags: 0, failures: [], loss: nil)

  /// Whether ``controlTruncation`` has a reason.
  public var isControlTruncated: Bool { controlTruncation != nil }

  package init(
    flags: Int32, failures: [DescriptorFailure], loss: ControlTruncation?, surplus: Int = 0,
    refused: [RefusedDescriptor] = [],
    fullLength: Int? = nil
  ) {
    isPayloadTruncated = flags & cms_msg_trunc != 0
    controlTruncation = flags & cms_msg_ctrunc == 0 ? nil : loss ?? .unknown
    self.failures = failures
    self.surplus = surplus
    self.refused = refused
    self.fullLength = fullLength
  }

  /// Creates the status that the receiver of a message sees.
  package init(flags: Int32, _ metadata: MessageMetadata?) {
    self.init(
      flags: flags, failures: metadata?.failures ?? [], loss: metadata?.controlTruncation,
      surplus: metadata?.evaluation?.surplus ?? 0,
      refused: metadata?.evaluation?.refused ?? [], fullLength: metadata?.fullLength)
  }
}

extension DeliveryStatus: CustomStringConvertible {
  public var description: String {
    var parts: [String] = []
    if isPayloadTruncated {
      let length = fullLength.map { ", \($0) bytes" } ?? ""
      parts.append("the payload was longer than the buffer\(length)")
    }
    if let controlTruncation { parts.append("control data is missing: \(controlTruncation)") }
    for failure in failures {
      parts.append("descriptor \(failure.position) did not arrive: \(failure.errno)")
    }
    if surplus > 0 { parts.append("\(surplus) descriptors too many") }
    parts += refused.map(\.description)
    return parts.isEmpty ? "complete" : parts.joined(separator: "; ")
  }
}

/// Why control data of a message is missing, as far as it can be told.
public enum ControlTruncation: Sendable, Hashable {
  /// The control buffer was full: raise ``IOLoop/Configuration/controlBufferSize``.
  case bufferFull
  /// This process had no free descriptor left when it was looked at, just after the message had
  /// arrived (`EMFILE`): raise `RLIMIT_NOFILE`, or hold fewer.
  case outOfDescriptors
  /// Neither: a security module refused a descriptor, or the shortage of descriptors was over when
  /// it was looked at.
  case unknown

  /// Determines the reason.
  ///
  /// - Parameters:
  ///   - free: the number of unused bytes in the control buffer.
  ///   - number: any open descriptor.
  init(free: Int, number: Int32) {
    // The space of a header and one descriptor, padded: CMSG_SPACE(4).
    if free < 24 {
      self = .bufferFull
    } else {
      self = cms_can_duplicate(number) ? .unknown : .outOfDescriptors
    }
  }
}

extension ControlTruncation: CustomStringConvertible {
  public var description: String {
    switch self {
    case .bufferFull: "the buffer was full"
    case .outOfDescriptors: "no descriptor was left"
    case .unknown: "refused by a security module, or no descriptor was left for a moment"
    }
  }
}

extension SocketError {
  /// The error for a message of which part is missing.
  ///
  /// - Parameter message: The received part.
  package static func messageIncomplete(
    _ outcome: DeliveryStatus, keeping message: any AnyObject & Sendable
  ) -> SocketError {
    var error = SocketError(
      .messageIncomplete, .receive, detail: outcome.description, outcome: outcome)
    error.delivered = message
    return error
  }
}
