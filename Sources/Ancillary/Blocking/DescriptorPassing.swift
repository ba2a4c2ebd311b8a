// SPDX-License-Identifier: Apache-2.0
internal import SystemPackage

/// The result of ``DescriptorBacked/receiveMessage(into:upTo:options:)``.
@frozen
public struct ReceivedDescriptors: ~Copyable, Sendable {
  /// Bytes of payload; 0 with no descriptors is the end of a stream.
  public let byteCount: Int

  /// The flags that the system returned with the message. ``ReceiveFlags/controlTruncated`` means
  /// that descriptors are missing, at the limit of open files for one.
  public let flags: ReceiveFlags

  /// The descriptors, in order; what is not taken closes with this value.
  public var descriptors: OwnedFds

  /// How many more had arrived; they are closed.
  public let surplus: Int

  /// Slots with an error instead of a descriptor.
  public let failures: [DescriptorFailure]
}

extension DescriptorBacked where Self: MessageSending & ~Copyable {
  /// Sends a payload with one descriptor, on a connected Unix-domain socket. The receiver gets a
  /// descriptor of its own for the same open file.
  ///
  /// - Returns: how many bytes were sent; the descriptor went with the first of them.
  /// - Throws: ``AncillaryError/Code/emptyPayload`` for no bytes on a stream;
  ///   ``AncillaryError/Code/systemCall`` with the error of sendmsg(2): `ETOOMANYREFS` while too
  ///   many descriptors of this user are under way (unix(7)), `EPERM` when the receiver refuses
  ///   them (Linux 6.16).
  public borrowing func sendMessage(
    _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable,
    descriptor: borrowing OwnedFd, options: SendOptions = []
  ) throws(AncillaryError) -> Int {
    let number = descriptor.number
    // SAFETY: the one descriptor outlives the call, which borrows its owner.
    return try unsafe withUnsafeBytes(of: number) { (numbers) throws(AncillaryError) in
      try unsafe send(payload.payloadBytes, numbers: numbers, options: options)
    }
  }

  /// Sends a payload with several descriptors, or none, on a connected Unix-domain socket.
  ///
  /// - Returns: how many bytes were sent; the descriptors went with the first of them.
  /// - Throws: ``AncillaryError/Code/tooManyDescriptors`` above
  ///   ``ControlMessages/maximumDescriptors``, ``AncillaryError/Code/emptyPayload``,
  ///   ``AncillaryError/Code/systemCall``. When any of them is not open, nothing is sent (`EBADF`).
  public borrowing func sendMessage(
    _ payload: borrowing some MessagePayload & ~Copyable & ~Escapable,
    descriptors: Span<OwnedFd>, options: SendOptions = []
  ) throws(AncillaryError) -> Int {
    // SAFETY: OwnedFd is one Int32; the call borrows the descriptors.
    try unsafe descriptors.withUnsafeBufferPointer { (buffer) throws(AncillaryError) in
      try unsafe send(
        payload.payloadBytes, numbers: UnsafeRawBufferPointer(buffer), options: options)
    }
  }

  private borrowing func send(
    _ payload: PayloadBytes, numbers: UnsafeRawBufferPointer, options: SendOptions
  ) throws(AncillaryError) -> Int {
    if numbers.count > 0, payload.byteCount == 0,
      withUnsafeFileDescriptor({ isStream($0.rawValue) })
    {
      throw AncillaryError(.emptyPayload)
    }
    var memory = InlineArray<1040, UInt8>(repeating: 0)
    var span = memory.mutableSpan
    // SAFETY: the memory outlives the call.
    let used = try unsafe span.withUnsafeMutableBytes { (control) throws(AncillaryError) in
      try unsafe fill(control) { (output) throws(AncillaryError) in
        try unsafe output.appendRights(numbers: numbers)
      }
    }
    let ancillary = AncillaryData(unsafe span.mutableBytes, used: used)
    do throws(Errno) {
      return try sendMessage(GatherBuffers(payload), ancillary: ancillary, options: options)
    } catch { throw .systemCall(error) }
  }
}

extension DescriptorBacked where Self: MessageReceiving & ~Copyable {
  /// Receives bytes with up to `maximum` descriptors. Those beyond are closed and counted: more may
  /// arrive than there was room for.
  ///
  /// There is room for all that one message can carry (beside a security label, `SO_PASSSEC`, of up
  /// to 800 bytes), so a descriptor is only missing for another reason
  /// (``ReceiveFlags/controlTruncated``). Other ancillary data is dropped; the sender's process
  /// descriptor (`SO_PASSPIDFD`) is closed.
  ///
  /// - Throws: ``AncillaryError/Code/systemCall`` with the error of recvmsg(2).
  /// - Precondition: `maximum` is not negative.
  public borrowing func receiveMessage(
    into bytes: inout MutableRawSpan, upTo maximum: Int, options: ReceiveOptions = []
  ) throws(AncillaryError) -> ReceivedDescriptors {
    var memory = InlineArray<2048, UInt8>(repeating: 0)
    var span = memory.mutableSpan
    var ancillary = AncillaryData(unsafe span.mutableBytes)
    var buffers = ScatterBuffers()
    buffers.append(bytes._mutatingExtracting(...))
    let result: ReceiveResult
    do throws(Errno) {
      result = try receiveMessage(into: buffers, ancillary: &ancillary, options: options)
    } catch { throw .systemCall(error) }
    let surplus = ancillary.descriptors.keepFirst(maximum)
    return ReceivedDescriptors(
      byteCount: result.byteCount, flags: result.flags, descriptors: ancillary.takeDescriptors(),
      surplus: surplus,
      failures: ancillary.failures)
  }

  /// Receives bytes with exactly `count` descriptors; see
  /// ``receiveMessage(into:upTo:options:)-(MutableRawSpan,_,_)``.
  ///
  /// - Throws: ``AncillaryError/Code/descriptorCount`` when another number arrived, which is also
  ///   so at the end of a stream: then all are closed, and the payload is lost;
  ///   ``AncillaryError/Code/systemCall`` with the error of recvmsg(2).
  public borrowing func receiveMessage(
    into bytes: inout MutableRawSpan, exactly count: Int, options: ReceiveOptions = []
  ) throws(AncillaryError) -> ReceivedDescriptors {
    let received = try receiveMessage(into: &bytes, upTo: count, options: options)
    guard received.surplus == 0, received.descriptors.count == count else {
      throw AncillaryError(
        .descriptorCount, actual: received.descriptors.count + received.surplus, limit: count)
    }
    return received
  }
}

extension DescriptorBacked where Self: MessageReceiving & ~Copyable {
  /// Receives bytes with up to `maximum` descriptors; see
  /// ``receiveMessage(into:upTo:options:)-(MutableRawSpan,_,_)``.
  public borrowing func receiveMessage(
    into bytes: inout MutableSpan<UInt8>, upTo maximum: Int, options: ReceiveOptions = []
  ) throws(AncillaryError) -> ReceivedDescriptors {
    // SAFETY: every bit pattern is a valid byte.
    var raw = unsafe bytes.mutableBytes
    return try receiveMessage(into: &raw, upTo: maximum, options: options)
  }

  /// Receives bytes with exactly `count` descriptors; see
  /// ``receiveMessage(into:exactly:options:)-(MutableRawSpan,_,_)``.
  public borrowing func receiveMessage(
    into bytes: inout MutableSpan<UInt8>, exactly count: Int, options: ReceiveOptions = []
  ) throws(AncillaryError) -> ReceivedDescriptors {
    // SAFETY: every bit pattern is a valid byte.
    var raw = unsafe bytes.mutableBytes
    return try receiveMessage(into: &raw, exactly: count, options: options)
  }
}
