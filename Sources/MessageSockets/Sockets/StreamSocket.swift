// SPDX-License-Identifier: Apache-2.0
public import SocketEngine

/// A connection of bytes in order, without boundaries: ``UnixStream``, ``TCPStream``, or one of
/// yours.
public protocol StreamSocket: MessageSocket {}

extension StreamSocket {
  /// The bytes that arrive from now on, one by one; ends when the peer has closed or shut down its
  /// sending side.
  ///
  /// For parsing by hand: a byte costs no call into the loop as long as some are there that arrived
  /// before. Descriptors that come along are closed, and control messages dropped: where they
  /// matter, use ``MessageSocket/messages``.
  ///
  /// Leaving the iteration early, or cancelling its task, loses no byte: those that were received
  /// and not returned go back to the socket when the iterator ends, and the next receive or
  /// iteration has them. Several iterations at once share the bytes out among them, in pieces as
  /// they arrive. Cancellation is noticed when the next bytes have to be waited for. An error is
  /// thrown once, after which the iteration is at its end.
  ///
  /// They are received ahead within the window that the socket has: ``bytes(window:)`` sets it, and
  /// so does ``MessageSocket/messages(window:)``.
  public nonisolated var bytes: ByteSequence<Self> {
    ByteSequence(socket: self, window: nil, policy: nil)
  }

  /// The same with a window of your own, as for ``MessageSocket/messages(window:)``; with fewer
  /// than 253 descriptors nothing is received that is not asked for. Each of its messages has at
  /// most ``IOLoop/Configuration/receiveBufferSize`` bytes.
  public nonisolated func bytes(window: ReceiveWindow) -> ByteSequence<Self> {
    ByteSequence(socket: self, window: window, policy: nil)
  }

  /// The same under a policy, which the socket has from the first step on
  /// (``MessageSocket/setReceivePolicy(_:)``): it decides what becomes of a stream whose peer sends
  /// descriptors along.
  public nonisolated func bytes(window: ReceiveWindow = ReceiveWindow(), policy: ReceivePolicy)
    -> ByteSequence<Self>
  {
    ByteSequence(socket: self, window: window, policy: policy)
  }
}
