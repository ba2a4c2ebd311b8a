// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// Puts a receive together step by step: room for the payload, flags, then the socket and the
/// ancillary data to fill.
///
/// ```swift
/// let result = try MessageReceiver(span.mutableBytes).options(.peek).receive(on: socket, ancillary: &data)
/// ```
public struct MessageReceiver: ~Copyable, ~Escapable {
  private var buffers: ScatterBuffers
  private var options: ReceiveOptions

  /// A receive into one piece of memory.
  @_lifetime(copy bytes)
  public init(_ bytes: consuming MutableRawSpan) { self.init(buffers: ScatterBuffers(bytes)) }

  /// A receive into one piece of memory.
  @_lifetime(&bytes)
  public init(_ bytes: inout MutableSpan<UInt8>) { self.init(buffers: ScatterBuffers(&bytes)) }

  /// A receive into several pieces of memory.
  @_lifetime(copy buffers)
  public init(buffers: consuming ScatterBuffers) {
    self.buffers = buffers
    options = []
  }

  /// Sets the flags.
  @_lifetime(copy self)
  public consuming func options(_ options: ReceiveOptions) -> MessageReceiver {
    self.options = options
    return self
  }

  /// Receives a message and its ancillary data.
  ///
  /// - Throws: what the socket's ``MessageReceiving`` throws.
  public consuming func receive<S: MessageReceiving & ~Copyable>(
    on socket: borrowing S, ancillary: inout AncillaryData
  ) throws(Errno) -> ReceiveResult {
    try socket.receiveMessage(into: buffers, ancillary: &ancillary, options: options)
  }

  /// Receives a message without room for ancillary data: what comes of it is closed by the system,
  /// and shows as ``ReceiveFlags/controlTruncated``.
  ///
  /// - Throws: what the socket's ``MessageReceiving`` throws.
  public consuming func receive<S: MessageReceiving & ~Copyable>(on socket: borrowing S)
    throws(Errno)
    -> ReceiveResult
  {
    var none = AncillaryData()
    return try socket.receiveMessage(into: buffers, ancillary: &none, options: options)
  }

  /// Receives a message, its ancillary data and where it came from.
  ///
  /// - Throws: what the socket's ``AddressedMessageReceiving`` throws.
  public consuming func receiveAddressed<S: AddressedMessageReceiving & ~Copyable>(
    on socket: borrowing S, ancillary: inout AncillaryData
  ) throws(Errno) -> (result: ReceiveResult, sender: S.Address?) {
    try socket.receiveAddressedMessage(into: buffers, ancillary: &ancillary, options: options)
  }
}
