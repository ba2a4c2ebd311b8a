// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// Puts a send together step by step: payload, then what else it has, then the socket.
///
/// ```swift
/// let sent = try MessageSender(payload).ancillaryData(data).options(.doNotWait).send(on: socket)
/// ```
///
/// Payload and ancillary data are borrowed and consumed in turn, so a sender sends once.
public struct MessageSender: ~Copyable, ~Escapable {
  private var buffers: GatherBuffers
  private var ancillary: AncillaryData
  private var options: SendOptions

  /// A message with one piece of payload.
  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan) { self.init(buffers: GatherBuffers(bytes)) }

  /// A message with one piece of payload.
  @_lifetime(copy bytes)
  public init(_ bytes: Span<UInt8>) { self.init(buffers: GatherBuffers(bytes)) }

  /// A message with several pieces of payload.
  @_lifetime(copy buffers)
  public init(buffers: consuming GatherBuffers) {
    self.buffers = buffers
    ancillary = AncillaryData()
    options = []
  }

  /// Adds ancillary data, in place of any that was there.
  @_lifetime(copy self, copy data)
  public consuming func ancillaryData(_ data: consuming AncillaryData) -> MessageSender {
    ancillary = data
    return self
  }

  /// Sets the flags.
  @_lifetime(copy self)
  public consuming func options(_ options: SendOptions) -> MessageSender {
    self.options = options
    return self
  }

  /// Sends the message on a socket that is connected.
  ///
  /// - Throws: what the socket's ``MessageSending`` throws.
  public consuming func send<S: MessageSending & ~Copyable>(on socket: borrowing S) throws(Errno)
    -> Int
  {
    try socket.sendMessage(buffers, ancillary: ancillary, options: options)
  }

  /// Sends the message to an address.
  ///
  /// - Throws: what the socket's ``AddressedMessageSending`` throws.
  public consuming func send<S: AddressedMessageSending & ~Copyable>(
    to address: S.Address, on socket: borrowing S
  ) throws(Errno)
    -> Int
  {
    try socket.sendMessage(buffers, to: address, ancillary: ancillary, options: options)
  }
}
