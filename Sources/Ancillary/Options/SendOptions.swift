// SPDX-License-Identifier: Apache-2.0
/// Flags of one send; sendmsg(2). The raw value holds this system's numbers and takes any others as
/// well.
///
/// `MSG_NOSIGNAL` is always added (``systemFlags``): a peer that is gone is the error `EPIPE`,
/// never the signal `SIGPIPE`.
public struct SendOptions: OptionSet, Hashable, Sendable {
  /// This system's numbers (`MSG_…`), without those that are always added.
  public let rawValue: Int32
  /// Any of this system's numbers: flags without a name here work as well.
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// This send ends a record, on sockets that have records (`SOCK_SEQPACKET`). The C name is
  /// `MSG_EOR`.
  public static var endOfRecord: SendOptions {
    SendOptions(rawValue: MessageFlagNumbers.current.endOfRecord)
  }

  /// The last byte is out-of-band data (TCP; Unix-domain streams since Linux 5.15). Descriptors
  /// that go with that one byte alone are lost on a Unix-domain stream: its receive brings none.
  /// Send them apart. The C name is `MSG_OOB`.
  public static var outOfBand: SendOptions {
    SendOptions(rawValue: MessageFlagNumbers.current.outOfBand)
  }

  /// Only to hosts on networks that are connected directly. The C name is `MSG_DONTROUTE`.
  public static var doNotRoute: SendOptions {
    SendOptions(rawValue: MessageFlagNumbers.current.doNotRoute)
  }

  /// Fails with `EAGAIN` rather than wait; leaves the descriptor's own `O_NONBLOCK` alone. The C
  /// name is `MSG_DONTWAIT`.
  public static var doNotWait: SendOptions {
    SendOptions(rawValue: MessageFlagNumbers.current.doNotWait)
  }

  /// Tells the link layer that the neighbour has answered (datagrams over IPv4 and IPv6). The C
  /// name is `MSG_CONFIRM` (Linux 2.3.15; nothing elsewhere).
  public static var confirm: SendOptions {
    SendOptions(rawValue: MessageFlagNumbers.current.confirm)
  }

  /// More follows: TCP fills its segments, UDP collects one datagram. The C name is `MSG_MORE`
  /// (Linux 2.4.4; nothing elsewhere).
  public static var more: SendOptions { SendOptions(rawValue: MessageFlagNumbers.current.more) }

  /// On a stream: once its first byte has gone out, the send is finished, whatever becomes of its
  /// task or deadline.
  ///
  /// Cancellation and deadlines then end a send before its first byte only, so that neither cuts a
  /// frame in the middle on a connection that others share. A peer that reads no more holds up a
  /// send that has begun: it ends with an error when the socket is closed, the connection breaks,
  /// or the loop is shut down. Other sockets send whole messages anyway. The C name is
  /// `MSG_WAITALL`, which sendmsg(2) of a blocking socket does not need.
  public static var finishOnceBegun: SendOptions {
    SendOptions(rawValue: MessageFlagNumbers.current.waitForAll)
  }

  /// Ends the sending side with this send. The C name is `MSG_EOF` (FreeBSD, macOS; nothing on
  /// Linux).
  public static var endOfFile: SendOptions {
    SendOptions(rawValue: MessageFlagNumbers.current.endOfFile)
  }

  /// The flags for the system call: these and `MSG_NOSIGNAL`.
  public var systemFlags: Int32 { rawValue | MessageFlagNumbers.current.noSignal }
}
