// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine
public import SystemPackage

/// The parts of a message whose bytes were received into the caller's own memory. This value owns
/// the descriptors: those that are not taken close with it, under a ``ReceivePolicy`` on another
/// thread.
///
/// Control messages of other kinds are properties: ``ControlMessageContainer``.
public struct ReceivedEnvelope: ~Copyable, Sendable, ControlMessageContainer {
  /// How many bytes were appended to the caller's memory; with ``ReceiveOptions/fullLength`` how
  /// many the message had, also where there was less room.
  public let byteCount: Int

  /// The descriptors, in the order in which they were sent, close-on-exec. (`SCM_RIGHTS`)
  public var descriptors: OwnedFds

  /// How many bytes were written into the caller's memory.
  let writtenCount: Int
  private let messageFlags: Int32
  private let metadata: MessageMetadata?

  /// Creates an envelope; nil for the end of the stream.
  ///
  /// - Parameter memory: The memory that holds the bytes.
  /// - Throws: The errors of ``ReceivedMessage/received(_:_:_:)``.
  @unsafe
  @usableFromInline
  @inline(never)
  init?(
    _ ended: consuming CompletedOperation, _ channel: SocketChannel,
    in memory: UnsafeMutableRawBufferPointer, _ options: ReceiveOptions
  ) throws {
    let tellsLength = options.contains(.fullLength)
    if ended.throwsLoss(tellsLength: tellsLength) {
      throw unsafe Self.incompleteness(ended, channel, in: memory)
    }
    descriptors = OwnedFds()
    var metadata: MessageMetadata?
    guard let message = ended.takeMessage(descriptors: &descriptors, metadata: &metadata) else {
      return nil
    }
    writtenCount = message.byteCount
    byteCount = tellsLength ? metadata?.fullLength ?? message.byteCount : message.byteCount
    messageFlags = message.messageFlags
    self.metadata = metadata
    if !descriptors.isEmpty { channel.countTaken(descriptors.count) }
    if let evaluation = metadata?.evaluation { evaluation.handedOver(descriptors.count) }
  }

  @unsafe
  private static func incompleteness(
    _ ended: consuming CompletedOperation, _ channel: SocketChannel,
    in memory: UnsafeMutableRawBufferPointer
  ) -> any Error {
    var received = ended.takeOutcome()
    // The error needs its own copy of the bytes. A prefetched message already has one.
    if received.payload.isEmpty {
      // SAFETY: the caller's memory, of which this many bytes were filled.
      received.payload = unsafe [UInt8](memory.prefix(received.byteCount))
    }
    return ReceivedMessage(received, channel).incompleteness(channel)
  }

  deinit {
    if let evaluation = metadata?.evaluation, !descriptors.isEmpty {
      evaluation.discard(descriptors)
    }
  }

  /// The sender, if the socket asks for it. (`SCM_CREDENTIALS`)
  public var credentials: Credentials? { metadata?.credentials?.known }

  /// All control messages, if there were others than descriptors; in the places of descriptors
  /// stands -1.
  public var control: ControlMessageBuffer { metadata?.control ?? ControlMessageBuffer() }

  /// The parts of the message that did not arrive.
  public var outcome: DeliveryStatus { DeliveryStatus(flags: messageFlags, metadata) }

  /// Flags of the message, such as ``ReceiveFlags/endOfRecord``. ``outcome`` describes missing
  /// parts. The C name is `msg_flags`.
  public var flags: ReceiveFlags { ReceiveFlags(systemFlags: messageFlags) }

  /// The address that a datagram came from; nil if its socket has no name, and on connections. The
  /// C name is `msg_name`.
  public var sender: AnySocketAddress? { metadata?.sender }

  /// Gives away the descriptor of the sender's process; see ``ReceivedMessage/takeProcess()``.
  public mutating func takeProcess() throws(Errno) -> ProcessFd? {
    try metadata?.takeProcess()?.get()
  }
}
