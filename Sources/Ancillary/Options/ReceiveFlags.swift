// SPDX-License-Identifier: Apache-2.0
/// Flags of a message that was received: `msg_flags` of recvmsg(2). The raw value
/// holds this system's numbers, those without a name here too.
public struct ReceiveFlags: OptionSet, Hashable, Sendable {
  /// This system's numbers (`MSG_…`).
  public let rawValue: Int32
  /// Any of this system's numbers.
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// The flags as the system returned them. Linux echoes `MSG_CMSG_CLOEXEC`, which says nothing: it
  /// is left out.
  public init(systemFlags: Int32) {
    rawValue = systemFlags & ~MessageFlagNumbers.current.closeOnExec
  }

  /// The record ends with these bytes (protocols with records, such as SCTP; Linux never sets it on
  /// Unix-domain sockets, though each receive on `SOCK_SEQPACKET` is a record). The C name is
  /// `MSG_EOR`.
  public static var endOfRecord: ReceiveFlags {
    ReceiveFlags(rawValue: MessageFlagNumbers.current.endOfRecord)
  }

  /// Out-of-band data. The C name is `MSG_OOB`.
  public static var outOfBand: ReceiveFlags {
    ReceiveFlags(rawValue: MessageFlagNumbers.current.outOfBand)
  }

  /// The message was longer than the buffer; the rest is lost (datagrams, `SOCK_SEQPACKET`). The C
  /// name is `MSG_TRUNC`.
  public static var payloadTruncated: ReceiveFlags {
    ReceiveFlags(rawValue: MessageFlagNumbers.current.truncated)
  }

  /// Control messages or descriptors are missing. It does *not* have to mean that the buffer was
  /// too small: at the limit of open files (`EMFILE`), or when a security module refuses some,
  /// descriptors are missing as well, and the payload and the others have arrived all the same. The
  /// C name is `MSG_CTRUNC`.
  public static var controlTruncated: ReceiveFlags {
    ReceiveFlags(rawValue: MessageFlagNumbers.current.controlTruncated)
  }

  /// From the error queue. The C name is `MSG_ERRQUEUE` (Linux).
  public static var errorQueue: ReceiveFlags {
    ReceiveFlags(rawValue: MessageFlagNumbers.current.errorQueue)
  }
}
