// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

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

  /// Looks for the reason.
  ///
  /// - Parameters:
  ///   - free: bytes of the control buffer that were not used.
  ///   - number: any open descriptor.
  init(free: Int, number: Int32) {
    // A header and one descriptor, padded: CMSG_SPACE(4).
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
