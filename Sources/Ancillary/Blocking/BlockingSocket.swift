// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// A socket of any kind with addresses of one family, for blocking calls:
/// `BlockingSocket<InternetAddress>` over a UDP socket, `BlockingSocket<UnixAddress>` …
///
/// It owns the descriptor, and has all four of the message protocols.
public struct BlockingSocket<Address: SocketAddress>: ~Copyable, Sendable {
  private let descriptor: OwnedFd

  /// Takes a socket, made elsewhere.
  public init(adopting descriptor: consuming OwnedFd) { self.descriptor = descriptor }

  /// Gives the descriptor away without closing it.
  public consuming func release() -> OwnedFd { descriptor }
}

extension BlockingSocket: DescriptorBacked, MessageSending, AddressedMessageSending, MessageReceiving,
  AddressedMessageReceiving
{
  /// Lends the raw descriptor to `body`, which must neither close it nor keep it.
  public borrowing func withUnsafeFileDescriptor<R: ~Copyable, E: Error>(
    _ body: (FileDescriptor) throws(E) -> R
  ) throws(E) -> R {
    try descriptor.withUnsafeFileDescriptor(body)
  }
}
