// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets

// Level AF_VSOCK: vsock(7).

extension SocketOption where Value == UInt64 {
  /// Bytes of a vsock socket's receive buffer, by default 256 KiB. It bounds what a peer can send
  /// ahead, and the largest message of ``VsockSeqpacket``. Larger values are cut to
  /// ``vsockMaximumBufferSize``: set that first. A listener's connections inherit it. The C name is
  /// `SO_VM_SOCKETS_BUFFER_SIZE`.
  public static var vsockBufferSize: SocketOption { vsock(cms_vsock_buffer_size) }

  /// The largest value of ``vsockBufferSize``, by default 256 KiB. The C name is
  /// `SO_VM_SOCKETS_BUFFER_MAX_SIZE`.
  public static var vsockMaximumBufferSize: SocketOption { vsock(cms_vsock_buffer_maximum) }
}

extension SocketOption where Value == VsockConnectTimeout {
  /// How long connecting waits for the peer's answer, by default two seconds. Set it before
  /// connecting, as a ``SocketSetting``. The C name is `SO_VM_SOCKETS_CONNECT_TIMEOUT`.
  public static var vsockConnectTimeout: SocketOption { vsock(cms_vsock_connect_timeout) }
}

extension SocketOption {
  private static func vsock(_ name: Int32) -> SocketOption {
    SocketOption(level: cms_family_vsock, name: name)
  }
}

extension UInt64: SocketOptionValue {}

/// The value of ``SocketOption/vsockConnectTimeout``, in microseconds. The C name is
/// `struct timeval`.
public struct VsockConnectTimeout: Hashable, Sendable, SocketOptionValue {
  /// How long, rounded down to microseconds. The kernel refuses zero and less (`EDOM`), and counts
  /// in ticks of a few milliseconds.
  public let duration: Duration

  public init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    self.duration =
      .seconds(seconds) + .microseconds(attoseconds / 1_000_000_000_000)
  }

  public var optionBytes: [UInt8] {
    let (seconds, attoseconds) = duration.components
    return Int(seconds).timeBytes + Int(attoseconds / 1_000_000_000_000).timeBytes
  }

  public init?(optionBytes bytes: [UInt8]) {
    guard bytes.count == 16,
      let seconds = UInt64(optionBytes: Array(bytes[..<8])),
      let microseconds = UInt64(optionBytes: Array(bytes[8...]))
    else { return nil }
    self.init(
      .seconds(Int64(bitPattern: seconds)) + .microseconds(Int64(bitPattern: microseconds)))
  }
}

extension Int {
  /// As a field of a `struct timeval` on a 64-bit system.
  fileprivate var timeBytes: [UInt8] { UInt64(bitPattern: Int64(self)).optionBytes }
}
