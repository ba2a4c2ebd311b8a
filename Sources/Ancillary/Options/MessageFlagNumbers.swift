// SPDX-License-Identifier: Apache-2.0
/// The numbers that a system gives to the flags of sendmsg(2) and recvmsg(2); 0 where it has no
/// such flag.
///
/// The tables of the other systems are data, tested everywhere; they have **not been run on FreeBSD
/// or macOS**.
public struct MessageFlagNumbers: Hashable, Sendable {
  /// The C name is `MSG_OOB`.
  public var outOfBand: Int32 = 0x1
  /// The C name is `MSG_PEEK`.
  public var peek: Int32 = 0x2
  /// The C name is `MSG_DONTROUTE`.
  public var doNotRoute: Int32 = 0x4
  /// The C name is `MSG_CTRUNC`.
  public var controlTruncated: Int32
  /// The C name is `MSG_TRUNC`.
  public var truncated: Int32
  /// The C name is `MSG_DONTWAIT`.
  public var doNotWait: Int32
  /// The C name is `MSG_EOR`.
  public var endOfRecord: Int32
  /// The C name is `MSG_WAITALL`.
  public var waitForAll: Int32
  /// The C name is `MSG_CONFIRM` (Linux).
  public var confirm: Int32 = 0
  /// The C name is `MSG_ERRQUEUE` (Linux).
  public var errorQueue: Int32 = 0
  /// The C name is `MSG_MORE` (Linux).
  public var more: Int32 = 0
  /// The C name is `MSG_EOF` (FreeBSD, macOS).
  public var endOfFile: Int32 = 0
  /// The C name is `MSG_NOSIGNAL`.
  public var noSignal: Int32 = 0
  /// The C name is `MSG_CMSG_CLOEXEC`.
  public var closeOnExec: Int32 = 0

  /// Linux, all architectures (include/linux/socket.h).
  public static var linux: MessageFlagNumbers {
    MessageFlagNumbers(
      controlTruncated: 0x8, truncated: 0x20, doNotWait: 0x40, endOfRecord: 0x80, waitForAll: 0x100,
      confirm: 0x800,
      errorQueue: 0x2000, more: 0x8000, noSignal: 0x4000, closeOnExec: 0x4000_0000)
  }

  /// FreeBSD (sys/sys/socket.h).
  public static var freeBSD: MessageFlagNumbers {
    MessageFlagNumbers(
      controlTruncated: 0x20, truncated: 0x10, doNotWait: 0x80, endOfRecord: 0x8, waitForAll: 0x40,
      endOfFile: 0x100,
      noSignal: 0x20000, closeOnExec: 0x40000)
  }

  /// macOS (bsd/sys/socket.h). It has no atomic close-on-exec: set `FD_CLOEXEC` after the receive.
  /// Older releases have no `MSG_NOSIGNAL` either: set the option `SO_NOSIGPIPE` on the socket
  /// there.
  public static var macOS: MessageFlagNumbers {
    MessageFlagNumbers(
      controlTruncated: 0x20, truncated: 0x10, doNotWait: 0x80, endOfRecord: 0x8, waitForAll: 0x40,
      endOfFile: 0x100,
      noSignal: 0x80000)
  }

  /// The system that this is compiled for.
  public static var current: MessageFlagNumbers {
    #if os(FreeBSD)
      freeBSD
    #elseif canImport(Darwin)
      macOS
    #else
      linux
    #endif
  }
}
