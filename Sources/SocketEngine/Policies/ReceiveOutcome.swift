public import Ancillary
internal import CMessageSockets

/// Whether a message arrived whole, and if not, what is missing. Whatever did arrive is kept.
public struct ReceiveOutcome: Sendable, Equatable {
  /// The message was longer than the buffer, and the rest is lost (seqpacket; a stream keeps it). The C name is `MSG_TRUNC`.
  public let isPayloadTruncated: Bool

  /// Control data is missing: the process had no room for all descriptors (`EMFILE`), a security module refused some, or the control buffer was too small. The
  /// kernel does not say which, nor how many are missing. The C name is `MSG_CTRUNC`.
  public let isControlTruncated: Bool

  /// Descriptors that the kernel replaced by an error, by position.
  public let failures: [DescriptorFailure]

  /// Nothing is missing.
  public static let complete = ReceiveOutcome(flags: 0, failures: [])

  init(flags: Int32, failures: [DescriptorFailure]) {
    isPayloadTruncated = flags & cms_msg_trunc != 0
    isControlTruncated = flags & cms_msg_ctrunc != 0
    self.failures = failures
  }
}
