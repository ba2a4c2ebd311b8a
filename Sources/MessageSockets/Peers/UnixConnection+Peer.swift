// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import SocketEngine
internal import SystemPackage

extension UnixConnection {
  /// Who is at the other end.
  ///
  /// - Throws: ``SocketError``: `closed`. Not an error: what this kernel does not tell is nil.
  public nonisolated func peerIdentity() async throws -> PeerIdentity {
    try await peerIdentityOnLoop()
  }

  /// A descriptor for the process at the other end, which never means another one, even when the
  /// number is reused: to wait for its end, to signal it, to look at it (``ProcessFd/processID``).
  /// The C name is `SO_PEERPIDFD`, Linux 6.5.
  ///
  /// Nil where the kernel does not have it: a pidfd made from the number of ``PeerIdentity`` could
  /// be another process's, and is not offered.
  ///
  /// - Throws: ``SocketError``: `closed`; `system` with the errno `noSuchProcess` if the process
  ///   has ended (some kernels give a descriptor all the same); `outOfDescriptors`.
  public nonisolated func peerProcess() async throws -> ProcessFd? { try await peerProcessOnLoop() }

  private func peerIdentityOnLoop() throws -> PeerIdentity {
    PeerIdentity(ofPeerOf: try channel.number(for: .query))
  }

  private func peerProcessOnLoop() throws -> ProcessFd? {
    var descriptor: Int32 = -1
    var length: UInt32 = 4
    // SAFETY: the kernel writes four bytes, into a local.
    let result = unsafe cms_get_option(
      try channel.number(for: .query), cms_sol_socket, PeerOption.process.rawValue, &descriptor,
      &length)
    if result == 0, descriptor >= 0 {
      return ProcessFd(adopting: OwnedFd(adopting: FileDescriptor(rawValue: descriptor)))
    }
    let errno = Errno(rawValue: -result)
    switch errno {
    case .protocolNotAvailable, .notSupported: return nil
    // What older kernels say of a process that was waited for, and of a pair's end that has no
    // peer.
    case .invalidArgument, .noData: throw SocketError(result: -Errno.noSuchProcess.rawValue, .query)
    default: throw SocketError(result: result, .query)
    }
  }
}

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
  public nonisolated func identifySenders(process: Bool = false, securityLabel: Bool = false)
    async throws
  {
    try await setOption(.passCredentials, to: true)
    if process { try await setOption(.passProcessDescriptor, to: true) }
    if securityLabel { try await setOption(.passSecurityLabel, to: true) }
  }
}
