// SPDX-License-Identifier: Apache-2.0
/// Flags of one receive; recvmsg(2). The raw value holds this system's numbers and takes any others
/// as well.
///
/// `MSG_CMSG_CLOEXEC` is always added (``systemFlags``): descriptors arrive with close-on-exec set.
public struct ReceiveOptions: OptionSet, Hashable, Sendable {
  /// This system's numbers (`MSG_…`), without those that are always added.
  public let rawValue: Int32
  /// Any of this system's numbers: flags without a name here work as well.
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Leaves the message in the queue. Each look at a message with descriptors installs *new* ones,
  /// which are owned and closed like all others. The C name is `MSG_PEEK`.
  public static var peek: ReceiveOptions {
    ReceiveOptions(rawValue: MessageFlagNumbers.current.peek)
  }

  /// Waits until the buffer is full (streams). It still returns early at descriptors, signals and
  /// the end. The C name is `MSG_WAITALL`.
  public static var waitForAll: ReceiveOptions {
    ReceiveOptions(rawValue: MessageFlagNumbers.current.waitForAll)
  }

  /// Out-of-band data. The C name is `MSG_OOB`.
  public static var outOfBand: ReceiveOptions {
    ReceiveOptions(rawValue: MessageFlagNumbers.current.outOfBand)
  }

  /// An error about something that was sent, from the error queue; see ``ExtendedError``.
  /// recvmsg(2) itself never waits for one; the blocking and the async sockets' forms say what they
  /// do. The C name is `MSG_ERRQUEUE` (Linux 2.2; nothing elsewhere).
  public static var errorQueue: ReceiveOptions {
    ReceiveOptions(rawValue: MessageFlagNumbers.current.errorQueue)
  }

  /// Returns the length that the datagram had, even when the buffer was shorter: then the byte
  /// count exceeds the buffer. Not for streams: TCP throws the bytes away (tcp(7)). The C name is
  /// `MSG_TRUNC` (Linux: datagrams since 2.2, Unix-domain 3.4).
  public static var fullLength: ReceiveOptions {
    ReceiveOptions(rawValue: MessageFlagNumbers.current.truncated)
  }

  /// Fails with `EAGAIN` rather than wait; leaves the descriptor's own `O_NONBLOCK` alone. The C
  /// name is `MSG_DONTWAIT`.
  public static var doNotWait: ReceiveOptions {
    ReceiveOptions(rawValue: MessageFlagNumbers.current.doNotWait)
  }

  /// The flags for the system call: these and `MSG_CMSG_CLOEXEC`.
  public var systemFlags: Int32 { rawValue | MessageFlagNumbers.current.closeOnExec }
}
