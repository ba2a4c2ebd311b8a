// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
public import SystemPackage

/// An error about a packet that was sent, from the socket's error queue. The C names are
/// `IP_RECVERR`, `IPV6_RECVERR` and `struct sock_extended_err` (Linux 2.2; ip(7)).
///
/// Received with ``ReceiveOptions/errorQueue``, when the option `IP_RECVERR` or `IPV6_RECVERR` is
/// set on the socket. The payload of that receive is the packet that caused the error, and its
/// address the packet's destination.
public struct ExtendedError: Hashable, Sendable {
  /// The reporter of the error. Linux adds origins: compare, don't enumerate.
  public struct Origin: RawRepresentable, Hashable, Sendable {
    /// The number in `ee_origin`.
    public let rawValue: UInt8
    /// Any number: those without a name here work as well.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The C name is `SO_EE_ORIGIN_NONE`.
    public static var none: Origin { Origin(rawValue: cms_ee_origin_none) }
    /// This host. The C name is `SO_EE_ORIGIN_LOCAL`.
    public static var local: Origin { Origin(rawValue: cms_ee_origin_local) }
    /// An ICMP message. The C name is `SO_EE_ORIGIN_ICMP`.
    public static var icmp: Origin { Origin(rawValue: cms_ee_origin_icmp) }
    /// An ICMPv6 message. The C name is `SO_EE_ORIGIN_ICMP6`.
    public static var icmp6: Origin { Origin(rawValue: cms_ee_origin_icmp6) }
    /// No error but a time of sending (see ``PacketTimestamps``). The C name is
    /// `SO_EE_ORIGIN_TIMESTAMPING`.
    public static var timestamping: Origin { Origin(rawValue: cms_ee_origin_timestamping) }
    /// No error but the end of a send without copy. The C name is `SO_EE_ORIGIN_ZEROCOPY`.
    public static var zeroCopy: Origin { Origin(rawValue: cms_ee_origin_zerocopy) }
    /// A time of sending that was missed. The C name is `SO_EE_ORIGIN_TXTIME`.
    public static var transmitTime: Origin { Origin(rawValue: cms_ee_origin_txtime) }
  }

  /// The protocol whose level the message had.
  public let version: InternetProtocol
  /// The error; 0 for the origins that report none. The C name is `ee_errno`.
  public let errno: Errno
  /// The C name is `ee_origin`.
  public let origin: Origin
  /// The type of the ICMP message. The C name is `ee_type`.
  public let type: UInt8
  /// The code of the ICMP message. The C name is `ee_code`.
  public let code: UInt8
  /// The path's MTU in bytes for `EMSGSIZE`; otherwise it depends on the origin. The C name is
  /// `ee_info`.
  public let info: UInt32
  /// Up to the origin. The C name is `ee_data`.
  public let data: UInt32
  /// The host that reported the error, with port 0; `nil` when it is not known. The C name is
  /// `SO_EE_OFFENDER`.
  public let offender: InternetAddress?
}

extension ControlMessageKind {
  /// The C names are `IPPROTO_IP` and `IP_RECVERR`.
  public static var extendedErrorV4: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ip, type: cms_ip_recverr)
  }
  /// The C names are `IPPROTO_IPV6` and `IPV6_RECVERR`.
  public static var extendedErrorV6: ControlMessageKind {
    ControlMessageKind(level: cms_ipproto_ipv6, type: cms_ipv6_recverr)
  }
}

extension ExtendedError: DecodableControlMessage {
  /// `sizeof (struct sock_extended_err)`; the offender's address follows.
  static var byteCount: Int { 16 }

  /// Reads both ``ControlMessageKind/extendedErrorV4`` and ``ControlMessageKind/extendedErrorV6``.
  public static func matches(_ kind: ControlMessageKind) -> Bool {
    kind == .extendedErrorV4 || kind == .extendedErrorV6
  }

  /// Reads a `struct sock_extended_err` and the address behind it. A message that was cut behind
  /// the error itself is read without the offender.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` below 16
  ///   bytes.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    guard Self.matches(message.kind) else { throw AncillaryError(.wrongKind) }
    let bytes = message.data
    guard bytes.byteCount >= Self.byteCount else {
      throw AncillaryError(.malformedData, actual: bytes.byteCount, limit: Self.byteCount)
    }
    version = message.kind == .extendedErrorV4 ? .v4 : .v6
    errno = Errno(rawValue: bytes.load(at: 0))
    origin = Origin(rawValue: bytes.load(at: 4))
    type = bytes.load(at: 5)
    code = bytes.load(at: 6)
    info = bytes.load(at: 8)
    data = bytes.load(at: 12)
    // The family is AF_UNSPEC if there is no offender.
    offender = try? InternetAddress(decoding: bytes.extracting(Self.byteCount..<bytes.byteCount))
  }
}
