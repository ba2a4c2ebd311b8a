// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine

extension LoopSocket {
  /// What the socket is bound to; nil if it has no name. The C name is getsockname(2).
  ///
  /// - Throws: ``SocketError``: `closed`.
  public nonisolated func localAddress() async throws -> AnySocketAddress? {
    try await localAddressOnLoop()
  }

  private func localAddressOnLoop() throws -> AnySocketAddress? {
    try .local(of: channel.number(for: .query))
  }
}

extension MessageSocket {
  /// What the socket is connected to; nil if the peer has no name. The C name is getpeername(2).
  ///
  /// - Throws: ``SocketError``: `notConnected`, `closed`.
  public nonisolated func peerAddress() async throws -> AnySocketAddress? {
    try await peerAddressOnLoop()
  }

  private func peerAddressOnLoop() throws -> AnySocketAddress? {
    try .peer(of: channel.number(for: .query))
  }
}
