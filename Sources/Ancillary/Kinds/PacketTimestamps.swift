// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The times of one packet, by kernel and by network card. The C names are `SO_TIMESTAMPING`,
/// `SCM_TIMESTAMPING` and `struct scm_timestamping` (Linux 2.6.30; `SO_TIMESTAMPING_NEW` 5.1;
/// Documentation/networking/timestamping).
///
/// Received with a packet, or on the error queue for a packet that was sent.
public struct PacketTimestamps: Hashable, Sendable {
  /// The time by the kernel's clock; `nil` when it was not taken.
  public let software: Timestamp?

  /// The time by the network card's own clock; `nil` when it was not taken.
  public let hardware: Timestamp?

  /// Any times.
  public init(software: Timestamp?, hardware: Timestamp?) {
    self.software = software
    self.hardware = hardware
  }
}

extension ControlMessageKind {
  /// The C name is `SO_TIMESTAMPING` (`SCM_TIMESTAMPING`).
  public static var packetTimestamps: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_timestamping_old)
  }
  /// The C name is `SO_TIMESTAMPING_NEW`.
  public static var packetTimestampsWide: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_timestamping_new)
  }
}

extension PacketTimestamps: DecodableControlMessage {
  /// Reads ``ControlMessageKind/packetTimestamps`` and ``ControlMessageKind/packetTimestampsWide``.
  public static func matches(_ kind: ControlMessageKind) -> Bool {
    kind == .packetTimestamps || kind == .packetTimestampsWide
  }

  /// Reads a `struct scm_timestamping`; a time of zero is one that was not taken.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than three times, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    let wide = message.kind == .packetTimestampsWide
    let pair = wide ? 16 : 2 * MemoryLayout<Int>.size
    try message.check(Self.self, byteCount: 3 * pair)
    // The kernel no longer uses the second of the three timestamps.
    self.init(
      software: Self.time(in: message.data, at: 0, wide: wide),
      hardware: Self.time(in: message.data, at: 2 * pair, wide: wide))
  }

  private static func time(in data: RawSpan, at offset: Int, wide: Bool) -> Timestamp? {
    let (seconds, nanoseconds) = Timestamp.pair(in: data, at: offset, wide: wide)
    return seconds == 0 && nanoseconds == 0
      ? nil : Timestamp(seconds: seconds, nanoseconds: nanoseconds)
  }
}

/// Asks for the times of the one packet that it is sent with. The C name is `SO_TIMESTAMPING` as a
/// control message of a send (Linux 4.6). How they are reported is still up to the socket's own
/// `SO_TIMESTAMPING` option.
public struct TimestampRequest: OptionSet, Hashable, Sendable {
  /// The C names are `SOF_TIMESTAMPING_TX_…`.
  public let rawValue: UInt32
  /// Any set of the kernel's bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// When the card sends it, by the card's clock. The C name is `SOF_TIMESTAMPING_TX_HARDWARE`.
  public static var sendHardware: TimestampRequest {
    TimestampRequest(rawValue: cms_timestamping_tx_hardware)
  }
  /// When it is handed to the card. The C name is `SOF_TIMESTAMPING_TX_SOFTWARE`.
  public static var sendSoftware: TimestampRequest {
    TimestampRequest(rawValue: cms_timestamping_tx_software)
  }
  /// When it enters the packet scheduler. The C name is `SOF_TIMESTAMPING_TX_SCHED`.
  public static var schedule: TimestampRequest {
    TimestampRequest(rawValue: cms_timestamping_tx_sched)
  }
  /// When the peer has acknowledged it (TCP). The C name is `SOF_TIMESTAMPING_TX_ACK`.
  public static var acknowledge: TimestampRequest {
    TimestampRequest(rawValue: cms_timestamping_tx_ack)
  }
}

extension TimestampRequest: EncodableControlMessage {
  /// The level and type that it is written with.
  public var kind: ControlMessageKind { .packetTimestamps }
  /// 4 bytes.
  public var encodedByteCount: Int { 4 }
  /// Appends the bits as a 32-bit integer.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) { output.append(integer: rawValue) }
}
