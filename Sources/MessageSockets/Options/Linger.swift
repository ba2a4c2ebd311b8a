// SPDX-License-Identifier: Apache-2.0
/// What close(2) does with data that has not been sent yet (TCP). The C name is `struct linger`.
///
/// A socket that lingers can hold up its loop for so long when it is closed.
public struct Linger: Hashable, Sendable, SocketOptionValue {
  /// Seconds that closing waits for the rest to be sent; 0: the rest is dropped and the connection
  /// reset; nil: closing returns at once, and the kernel goes on sending.
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
  /// What closing the socket waits for. `SO_LINGER`.
  public static var linger: SocketOption { SocketOption(level: 1, name: 13) }
}
