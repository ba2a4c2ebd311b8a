// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// How close(2) treats TCP data that has not been sent yet. The C name is `struct linger`.
///
/// Closing a socket that lingers can block its loop for as long.
public struct Linger: Hashable, Sendable, SocketOptionValue {
  /// Seconds that closing waits for the rest to be sent. With 0 the rest is dropped and the
  /// connection reset; with nil closing returns immediately and the kernel goes on sending.
  public var seconds: Int32?

  public init(seconds: Int32?) { self.seconds = seconds }

  public var optionBytes: [UInt8] {
    Int32(seconds == nil ? 0 : 1).optionBytes + (seconds ?? 0).optionBytes
  }

  public init?(optionBytes bytes: [UInt8]) {
    guard bytes.count == 8, let isOn = Int32(optionBytes: Array(bytes[..<4])),
      let seconds = Int32(optionBytes: Array(bytes[4...]))
    else {
      return nil
    }
    self.seconds = isOn == 0 ? nil : seconds
  }
}

extension SocketOption where Value == Linger {
  /// How long closing the socket waits for unsent data. The C name is `SO_LINGER`.
  public static var linger: SocketOption {
    SocketOption(level: cms_sol_socket, name: cms_so_linger)
  }
}
