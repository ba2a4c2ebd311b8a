// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine
internal import SystemPackage

/// An option and its value, applied to a new socket before it is bound, listens, or connects. Some
/// options have no effect when they are set later.
/// ```swift
/// let address = InternetAddress(.any as IPv6Address, port: 8080)
/// let listener = try TCPListener.bind(to: address, settings: [SocketSetting(.onlyV6, true), SocketSetting(.receiveBufferSize, 1 << 20)])
/// ```
public struct SocketSetting: Sendable {
  private let apply: @Sendable (Int32) throws(SocketError) -> Void

  /// - Parameters:
  ///   - option: The option, as for ``LoopSocket/setOption(_:to:)``.
  ///   - value: The value to set.
  public init<Value>(_ option: SocketOption<Value>, _ value: Value) {
    apply = { number throws(SocketError) in try option.set(number, to: value) }
  }

  /// setsockopt(2).
  func apply(to socket: borrowing OwnedFd) throws(SocketError) {
    try apply(socket.withUnsafeFileDescriptor { $0.rawValue })
  }
}
