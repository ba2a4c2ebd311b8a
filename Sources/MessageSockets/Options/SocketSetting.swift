// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine
internal import SystemPackage

/// An option and the value that it is to have, to be set on a new socket before it is bound,
/// listens or connects: some options count from then on only.
/// ```swift
/// let address = InternetAddress(.any as IPv6Address, port: 8080)
/// let listener = try TCPListener.bind(to: address, settings: [SocketSetting(.onlyV6, true), SocketSetting(.receiveBufferSize, 1 << 20)])
/// ```
public struct SocketSetting: Sendable {
  private let apply: @Sendable (Int32) throws(SocketError) -> Void

  /// - Parameters:
  ///   - option: The option, as for ``LoopSocket/setOption(_:to:)``.
  ///   - value: What it is set to.
  public init<Value>(_ option: SocketOption<Value>, _ value: Value) {
    apply = { number throws(SocketError) in try option.set(number, to: value) }
  }

  /// setsockopt(2).
  func apply(to socket: borrowing OwnedFd) throws(SocketError) {
    try apply(socket.withUnsafeFileDescriptor { $0.rawValue })
  }
}
