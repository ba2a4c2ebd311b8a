// SPDX-License-Identifier: Apache-2.0
// Forms for arrays and spans of bytes, so that everyday code needs no `unsafe` under strict memory
// safety.

extension GatherBuffers {
  /// One piece.
  @_lifetime(copy bytes)
  public init(_ bytes: Span<UInt8>) {
    // SAFETY: every byte of a span of bytes is initialised.
    self.init(unsafe bytes.bytes)
  }
}

extension ScatterBuffers {
  /// One piece.
  @_lifetime(&bytes)
  public init(_ bytes: inout MutableSpan<UInt8>) {
    // SAFETY: any value is a byte.
    self.init(unsafe bytes.mutableBytes)
  }
}

extension AncillaryData {
  /// An empty one over a span of bytes, as of an array or an `InlineArray`.
  @_lifetime(&memory)
  public init(_ memory: inout MutableSpan<UInt8>) {
    // SAFETY: any value is a byte.
    self.init(unsafe memory.mutableBytes)
  }
}

extension MessageSender {
  /// A message with one piece of payload.
  @_lifetime(copy bytes)
  public init(_ bytes: Span<UInt8>) { self.init(buffers: GatherBuffers(bytes)) }
}

extension MessageReceiver {
  /// A receive into one piece of memory.
  @_lifetime(&bytes)
  public init(_ bytes: inout MutableSpan<UInt8>) { self.init(buffers: ScatterBuffers(&bytes)) }
}

extension DescriptorBacked where Self: MessageReceiving & ~Copyable {
  /// Receives bytes with up to `maximum` descriptors; see
  /// ``receiveMessage(into:upTo:options:)-(MutableRawSpan,_,_)``.
  public borrowing func receiveMessage(
    into bytes: inout MutableSpan<UInt8>, upTo maximum: Int, options: ReceiveOptions = []
  ) throws(AncillaryError) -> ReceivedDescriptors {
    // SAFETY: any value is a byte.
    var raw = unsafe bytes.mutableBytes
    return try receiveMessage(into: &raw, upTo: maximum, options: options)
  }

  /// Receives bytes with exactly `count` descriptors; see
  /// ``receiveMessage(into:exactly:options:)-(MutableRawSpan,_,_)``.
  public borrowing func receiveMessage(
    into bytes: inout MutableSpan<UInt8>, exactly count: Int, options: ReceiveOptions = []
  ) throws(AncillaryError) -> ReceivedDescriptors {
    // SAFETY: any value is a byte.
    var raw = unsafe bytes.mutableBytes
    return try receiveMessage(into: &raw, exactly: count, options: options)
  }
}
