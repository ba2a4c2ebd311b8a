// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// Something with a socket's descriptor inside. Conform, add ``MessageSending`` or
/// ``MessageReceiving`` (or the forms with addresses), and the system calls are there: for
/// Unix-domain, TCP, UDP, raw and any other sockets.
///
/// The calls start again after a signal (`EINTR`).
public protocol DescriptorBacked: ~Copyable {
  /// Lends the raw descriptor to `body`, which must neither close it nor keep it.
  borrowing func withUnsafeFileDescriptor<R: ~Copyable, E: Error>(
    _ body: (FileDescriptor) throws(E) -> R
  ) throws(E) -> R
}

extension MessageSending where Self: DescriptorBacked & ~Copyable {
  /// sendmsg(2) on the descriptor.
  ///
  /// - Throws: the error of sendmsg(2); `EINVAL`, before any call, for ancillary data without a
  ///   byte of payload on a stream: Linux would return success and drop the descriptors.
  public borrowing func sendMessage(
    _ buffers: borrowing GatherBuffers, ancillary: borrowing AncillaryData, options: SendOptions
  ) throws(Errno) -> Int {
    // SAFETY: there is no address.
    try unsafe systemSend(
      buffers, name: UnsafeRawBufferPointer(start: nil, count: 0), ancillary: ancillary,
      options: options)
  }
}

extension AddressedMessageSending where Self: DescriptorBacked & ~Copyable {
  /// sendmsg(2) with `msg_name` on the descriptor.
  ///
  /// - Throws: the error of sendmsg(2); `EINVAL`, before any call, as without an address.
  public borrowing func sendMessage(
    _ buffers: borrowing GatherBuffers, to address: Address, ancillary: borrowing AncillaryData,
    options: SendOptions
  ) throws(Errno) -> Int {
    try address.withSocketAddressBytes { (bytes) throws(Errno) in
      // SAFETY: the address outlives the call.
      try unsafe bytes.withUnsafeBytes { (name) throws(Errno) in
        try unsafe systemSend(buffers, name: name, ancillary: ancillary, options: options)
      }
    }
  }
}

extension MessageReceiving where Self: DescriptorBacked & ~Copyable {
  /// recvmsg(2) on the descriptor.
  ///
  /// - Throws: the error of recvmsg(2).
  public borrowing func receiveMessage(
    into buffers: borrowing ScatterBuffers, ancillary: inout AncillaryData, options: ReceiveOptions
  ) throws(Errno) -> ReceiveResult {
    // SAFETY: there is no address.
    try unsafe systemReceive(
      into: buffers, name: UnsafeMutableRawBufferPointer(start: nil, count: 0),
      ancillary: &ancillary, options: options
    ).result
  }
}

extension AddressedMessageReceiving where Self: DescriptorBacked & ~Copyable {
  /// recvmsg(2) with `msg_name` on the descriptor. An address longer than 128 bytes is cut.
  ///
  /// - Throws: the error of recvmsg(2). An address that ``AddressedMessageReceiving/Address``
  ///   cannot read is no error.
  public borrowing func receiveAddressedMessage(
    into buffers: borrowing ScatterBuffers, ancillary: inout AncillaryData, options: ReceiveOptions
  ) throws(Errno) -> (result: ReceiveResult, sender: Address?) {
    var storage = InlineArray<128, UInt8>(repeating: 0)
    var span = storage.mutableSpan
    // SAFETY: the storage outlives the call.
    let (result, nameLength) = try unsafe span.withUnsafeMutableBytes { (name) throws(Errno) in
      try unsafe systemReceive(into: buffers, name: name, ancillary: &ancillary, options: options)
    }
    // SAFETY: every byte is initialized; the system may report a longer address than it has
    // written.
    let bytes = unsafe storage.span.bytes.extracting(
      first: min(nameLength, Address.maximumByteCount))
    return (result, bytes.byteCount == 0 ? nil : try? Address(decoding: bytes))
  }
}

extension DescriptorBacked where Self: ~Copyable {
  fileprivate borrowing func systemSend(
    _ buffers: borrowing GatherBuffers, name: UnsafeRawBufferPointer,
    ancillary: borrowing AncillaryData,
    options: SendOptions
  ) throws(Errno) -> Int {
    try withUnsafeFileDescriptor { (descriptor) throws(Errno) in
      // SAFETY: all borrowed memory outlives the call, and the kernel does not use it after that.
      try unsafe ancillary.withUnsafeOutgoingBytes { (control) throws(Errno) in
        if control.count > 0, buffers.byteCount == 0, isStream(descriptor.rawValue) {
          throw .invalidArgument
        }
        return try unsafe buffers.vector.withUnsafeEntries { (vector) throws(Errno) in
          try unsafe sendMessageCall(
            descriptor.rawValue, name: name, vector: vector, control: control,
            flags: options.systemFlags)
        }
      }
    }
  }

  fileprivate borrowing func systemReceive(
    into buffers: borrowing ScatterBuffers, name: UnsafeMutableRawBufferPointer,
    ancillary: inout AncillaryData,
    options: ReceiveOptions
  ) throws(Errno) -> (result: ReceiveResult, nameLength: Int) {
    // SAFETY: the control memory is returned whether the call succeeds or fails, with the length
    // that the kernel wrote.
    let control = unsafe ancillary.unsafeBeginReceive()
    let outcome: SystemReceiveResult
    do throws(Errno) {
      outcome = try withUnsafeFileDescriptor { (descriptor) throws(Errno) in
        try unsafe buffers.vector.withUnsafeEntries { (vector) throws(Errno) in
          try unsafe receiveMessageCall(
            descriptor.rawValue, name: name, vector: vector, control: control,
            flags: options.systemFlags)
        }
      }
    } catch {
      unsafe ancillary.unsafeEndReceive(byteCount: 0)
      throw error
    }
    unsafe ancillary.unsafeEndReceive(byteCount: outcome.controlLength)
    if MessageFlagNumbers.current.closeOnExec == 0 {
      // This system cannot set close-on-exec atomically. The descriptors are owned already, so an
      // error closes them with the ancillary data.
      try ancillary.descriptors.setCloseOnExec()
    }
    let flags = ReceiveFlags(systemFlags: outcome.flags)
    return (ReceiveResult(byteCount: outcome.byteCount, flags: flags), outcome.nameLength)
  }
}

extension OwnedFd: DescriptorBacked, MessageSending, MessageReceiving {}

extension FileDescriptor: DescriptorBacked, MessageSending, MessageReceiving {
  /// Hands the descriptor itself to `body`. It has no owner here: the caller guarantees that it
  /// stays open.
  public func withUnsafeFileDescriptor<R: ~Copyable, E: Error>(
    _ body: (FileDescriptor) throws(E) -> R
  ) throws(E) -> R {
    try body(self)
  }
}

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

extension BlockingSocket: DescriptorBacked, MessageSending, AddressedMessageSending,
  MessageReceiving,
  AddressedMessageReceiving
{
  /// Lends the raw descriptor to `body`, which must neither close it nor keep it.
  public borrowing func withUnsafeFileDescriptor<R: ~Copyable, E: Error>(
    _ body: (FileDescriptor) throws(E) -> R
  ) throws(E) -> R {
    try descriptor.withUnsafeFileDescriptor(body)
  }
}
