// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// When the kernel received a packet or message, by its wall clock. The C names are `SO_TIMESTAMP`
/// (microseconds, Linux 2.2) and `SO_TIMESTAMPNS` (nanoseconds, Linux 2.6.22); socket(7). Both are
/// read in their old form (`struct timeval`, `struct timespec` of this system) and in the form that
/// has 64-bit seconds everywhere (`SO_TIMESTAMP_NEW`, Linux 5.1).
public struct Timestamp: Hashable, Sendable {
  /// Seconds since the beginning of 1970 (UTC).
  public let seconds: Int64

  /// The rest, in nanoseconds: as the kernel gave it, which is below a thousand million.
  public let nanoseconds: Int64

  /// Any time.
  public init(seconds: Int64, nanoseconds: Int64) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  /// The time since the beginning of 1970 (UTC).
  public var sinceEpoch: Duration { .seconds(seconds) + .nanoseconds(nanoseconds) }

  /// Reads two integers, each as wide as this system's `long`, or 64 bits if `wide`.
  static func pair(in data: RawSpan, at offset: Int, wide: Bool) -> (Int64, Int64) {
    wide
      ? (data.load(at: offset), data.load(at: offset + 8))
      : (
        Int64(data.load(Int.self, at: offset)),
        Int64(data.load(Int.self, at: offset + MemoryLayout<Int>.size))
      )
  }
}

extension ControlMessageKind {
  /// The C name is `SO_TIMESTAMP` (`SCM_TIMESTAMP`).
  public static var timestamp: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_timestamp_old)
  }
  /// The C name is `SO_TIMESTAMP_NEW`.
  public static var timestampWide: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_timestamp_new)
  }
  /// The C name is `SO_TIMESTAMPNS` (`SCM_TIMESTAMPNS`).
  public static var timestampNanoseconds: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_timestampns_old)
  }
  /// The C name is `SO_TIMESTAMPNS_NEW`.
  public static var timestampNanosecondsWide: ControlMessageKind {
    ControlMessageKind(level: cms_sol_socket, type: cms_so_timestampns_new)
  }
}

extension Timestamp: DecodableControlMessage {
  /// Reads ``ControlMessageKind/timestamp``, ``ControlMessageKind/timestampNanoseconds`` and the
  /// wide form of each.
  public static func matches(_ kind: ControlMessageKind) -> Bool {
    switch kind {
    case .timestamp, .timestampWide, .timestampNanoseconds, .timestampNanosecondsWide: true
    default: false
    }
  }

  /// Reads a `struct timeval` or `struct timespec`, depending on the kind.
  ///
  /// - Throws: ``AncillaryError/Code/wrongKind``; ``AncillaryError/Code/malformedData`` for another
  ///   length than two integers, or a truncated message.
  public init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    let wide = message.kind == .timestampWide || message.kind == .timestampNanosecondsWide
    try message.check(Self.self, byteCount: wide ? 16 : 2 * MemoryLayout<Int>.size)
    let (seconds, fraction) = Self.pair(in: message.data, at: 0, wide: wide)
    let isMicroseconds = message.kind == .timestamp || message.kind == .timestampWide
    // The bytes may hold any value, so wrap rather than trap.
    self.init(seconds: seconds, nanoseconds: isMicroseconds ? fraction &* 1000 : fraction)
  }
}
