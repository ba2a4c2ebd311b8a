// SPDX-License-Identifier: Apache-2.0
public import SocketEngine

/// A connection of bytes in order, without boundaries: ``UnixStream``, ``TCPStream``,
/// ``VsockStream``, or one of yours.
public protocol StreamSocket: MessageSocket {}

extension StreamSocket {
  /// The bytes that arrive from now on, one by one; ends when the peer has closed or shut down its
  /// sending side.
  ///
  /// For parsing by hand: a byte costs no call into the loop as long as some are there that arrived
  /// before. Descriptors that come along are closed, and control messages dropped, when the bytes
  /// with which they arrived have been used up and more are asked for: where they matter, use
  /// ``MessageSocket/messages``.
  ///
  /// Leaving the iteration early, or cancelling its task, loses no byte: those that were received
  /// and not returned go back to the socket when the iterator ends, together with what came with
  /// them, and the next receive or iteration has them. Several concurrent iterations share the
  /// bytes out among them, in pieces as they arrive. Cancellation is noticed when the next bytes
  /// have to be waited for. An error is thrown once, after which the iteration is at its end.
  ///
  /// They are received ahead within the window that the socket has: ``bytes(window:policy:)`` sets
  /// it, and so does ``MessageSocket/messages(window:policy:)``.
  public nonisolated var bytes: ByteSequence<Self> {
    ByteSequence(socket: self, window: nil, policy: nil)
  }

  /// The bytes that arrive from now on, as ``bytes``, in a window of your own or under a policy.
  ///
  /// - Parameters:
  ///   - window: How much is received ahead, as for ``MessageSocket/messages(window:policy:)``;
  ///     with fewer than 253 descriptors nothing is received that is not asked for. Each of its
  ///     messages has at most ``IOLoop/Configuration/receiveBufferSize`` bytes.
  ///   - policy: What becomes of a stream whose peer sends descriptors along; the socket has it
  ///     from the first step on (``MessageSocket/setReceivePolicy(_:)``). Nil leaves the policy
  ///     that the socket has.
  public nonisolated func bytes(
    window: ReceiveWindow = ReceiveWindow(), policy: ReceivePolicy? = nil
  ) -> ByteSequence<Self> {
    ByteSequence(socket: self, window: window, policy: policy)
  }
}
