package import Ancillary
internal import CMessageSockets
package import SystemPackage

/// What became of an operation: the kernel's last word, and all that it delivered. Owned by whoever awaits it.
package struct OperationOutcome: ~Copyable, Sendable {
  /// Bytes transferred; for a send in several parts, the sum of them.
  package var byteCount = 0
  /// Why the operation failed, or nil. A send may have failed after ``byteCount`` bytes had gone out.
  package var errno: Errno?
  /// Why it was asked to stop, if it was. It may have succeeded all the same: then ``errno`` is nil.
  package var stopReason: StopReason?
  /// `msg_flags` as the kernel left them (`MSG_TRUNC`, `MSG_CTRUNC`, `MSG_EOR` …).
  package var messageFlags: Int32 = 0
  /// The payload, where the engine lent the buffer.
  package var payload: [UInt8] = []
  /// Received descriptors, credentials, and the slots that held an error instead of a descriptor.
  package var ancillary = ReceivedAncillary()
  /// All control messages of a receive, with -1 in the place of each descriptor that ``ancillary`` owns.
  package var control = ControlMessageBuffer()
  /// The descriptor of an accepted connection.
  package var accepted: OwnedFd?

  package init() {}

  /// For a receive: whether it found the end of the stream. (Of a seqpacket socket also an empty message without control data, which the kernel
  /// reports in the same way.)
  package var isEnd: Bool {
    byteCount == 0 && messageFlags & (cms_msg_trunc | cms_msg_ctrunc) == 0 && control.isEmpty && ancillary.descriptors.isEmpty
      && ancillary.failures.isEmpty
  }
}
