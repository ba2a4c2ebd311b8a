// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// A socket that can send messages with ancillary data. Third parties conform their own; whatever
/// has a descriptor gets it from ``DescriptorBacked`` for free.
public protocol MessageSending: ~Copyable {
  /// Sends one message, and waits while there is no room for it, unless `options` has
  /// ``SendOptions/doNotWait``.
  ///
  /// - Returns: how many bytes of payload were sent. On a stream that may be fewer than there are:
  ///   the ancillary data went with the first of them, so send the rest without.
  /// - Throws: the error of sendmsg(2).
  borrowing func sendMessage(
    _ buffers: borrowing GatherBuffers, ancillary: borrowing AncillaryData, options: SendOptions
  ) throws(Errno) -> Int
}

/// A socket that can send messages with ancillary data to an address.
public protocol AddressedMessageSending: ~Copyable {
  /// The type of a receiver's address: ``UnixAddress``, ``InternetAddress``, or a type of your own.
  associatedtype Address: SocketAddress

  /// Sends one message to `address`, and waits while there is no room for it, unless `options` has
  /// ``SendOptions/doNotWait``.
  ///
  /// - Returns: how many bytes of payload were sent.
  /// - Throws: the error of sendmsg(2).
  borrowing func sendMessage(
    _ buffers: borrowing GatherBuffers, to address: Address, ancillary: borrowing AncillaryData,
    options: SendOptions
  ) throws(Errno) -> Int
}

/// A socket that can receive messages with ancillary data.
public protocol MessageReceiving: ~Copyable {
  /// Waits for a message, unless `options` has ``ReceiveOptions/doNotWait``, and owns the
  /// descriptors it brings in `ancillary`.
  ///
  /// - Throws: the error of recvmsg(2). Truncation is no error: see ``ReceiveResult/flags``.
  borrowing func receiveMessage(
    into buffers: borrowing ScatterBuffers, ancillary: inout AncillaryData, options: ReceiveOptions
  ) throws(Errno) -> ReceiveResult
}

/// A socket that can receive messages with ancillary data, and tell where they came from.
public protocol AddressedMessageReceiving: ~Copyable {
  /// The type of a sender's address: ``UnixAddress``, ``InternetAddress``, or a type of your own.
  associatedtype Address: SocketAddress

  /// Waits for a message, unless `options` has ``ReceiveOptions/doNotWait``, and owns the
  /// descriptors it brings in `ancillary`.
  ///
  /// - Returns: also the sender's address; `nil` when the system gave none that ``Address`` can
  ///   read.
  /// - Throws: the error of recvmsg(2). Truncation is no error: see ``ReceiveResult/flags``.
  borrowing func receiveAddressedMessage(
    into buffers: borrowing ScatterBuffers, ancillary: inout AncillaryData, options: ReceiveOptions
  ) throws(Errno) -> (result: ReceiveResult, sender: Address?)
}

/// How a receive went.
public struct ReceiveResult: Hashable, Sendable {
  /// How many bytes of payload there are. 0 is the end of a stream, or an empty datagram. More than
  /// the buffers hold only with ``ReceiveOptions/fullLength``.
  public let byteCount: Int

  /// The flags that the system returned with the message.
  public let flags: ReceiveFlags

  /// A result, for sockets of third parties.
  public init(byteCount: Int, flags: ReceiveFlags) {
    self.byteCount = byteCount
    self.flags = flags
  }
}
