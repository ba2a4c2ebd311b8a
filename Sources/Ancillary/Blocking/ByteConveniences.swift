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

extension DescriptorBacked where Self: SendMessage & ~Copyable {
  /// Sends some bytes with several descriptors, or none; see
  /// ``send(_:descriptors:options:)-(RawSpan,_,_)``.
  public borrowing func send(
    _ bytes: [UInt8], descriptors: Span<OwnedFd>, options: SendOptions = []
  ) throws(AncillaryError) -> Int {
    // SAFETY: every byte of an array of bytes is initialised.
    try send(unsafe bytes.span.bytes, descriptors: descriptors, options: options)
  }

  /// Sends some bytes with one descriptor; see ``send(_:descriptor:options:)-(RawSpan,_,_)``.
  public borrowing func send(
    _ bytes: [UInt8], descriptor: borrowing OwnedFd, options: SendOptions = []
  ) throws(AncillaryError) -> Int {
    // SAFETY: every byte of an array of bytes is initialised.
    try send(unsafe bytes.span.bytes, descriptor: descriptor, options: options)
  }
}

extension DescriptorBacked where Self: ReceiveMessage & ~Copyable {
  /// Receives bytes with up to `maximum` descriptors; see
  /// ``receive(into:upTo:options:)-(MutableRawSpan,_,_)``.
  public borrowing func receive(
    into bytes: inout MutableSpan<UInt8>, upTo maximum: Int, options: ReceiveOptions = []
  ) throws(AncillaryError) -> ReceivedDescriptors {
    // SAFETY: any value is a byte.
    var raw = unsafe bytes.mutableBytes
    return try receive(into: &raw, upTo: maximum, options: options)
  }

  /// Receives bytes with exactly `count` descriptors; see
  /// ``receive(into:exactly:options:)-(MutableRawSpan,_,_)``.
  public borrowing func receive(
    into bytes: inout MutableSpan<UInt8>, exactly count: Int, options: ReceiveOptions = []
  ) throws(AncillaryError) -> ReceivedDescriptors {
    // SAFETY: any value is a byte.
    var raw = unsafe bytes.mutableBytes
    return try receive(into: &raw, exactly: count, options: options)
  }
}
