// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// A Unix socket: its messages can carry descriptors. See unix(7).
///
/// ``UnixStream``, ``UnixSeqpacket`` and ``UnixDatagram``. No other family can: TCP, UDP and vsock
/// would drop the descriptors without a word.
public protocol UnixSocket: MessageSocket {}

extension UnixSocket {
  /// Asks the kernel to attach to each message who sent it: ``ReceivedMessage/credentials``. On a
  /// stream it also keeps apart what different senders wrote.
  ///
  /// For sockets that several processes send through, where ``UnixConnection/peerIdentity()`` only
  /// knows the one that connected; and for datagrams. Messages sent before come without: to know
  /// who sent a connection's first ones, give the listener ``SocketOption/passCredentials`` and its
  /// neighbours as settings.
  ///
  /// - Parameters:
  ///   - process: also a descriptor for the sender's process: ``ReceivedMessage/takeProcess()``.
  ///     Linux 6.5.
  ///   - securityLabel: also its label: ``ControlMessageContainer/securityLabel``.
  /// - Throws: ``SocketError``: `notSupported` where the kernel cannot do what was asked for;
  ///   `closed`.
  public func identifySenders(process: Bool = false, securityLabel: Bool = false) throws {
    try setOption(.passCredentials, to: true)
    if process { try setOption(.passProcessDescriptor, to: true) }
    if securityLabel { try setOption(.passSecurityLabel, to: true) }
  }
}
