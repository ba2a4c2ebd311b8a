// SPDX-License-Identifier: Apache-2.0
public import Ancillary
package import SocketEngine
internal import Synchronization
public import SystemPackage

/// One received message: its bytes, and the descriptors that came with them, which it owns until
/// they are taken.
///
/// The descriptors are given away once, as a whole by ``takeDescriptors()`` or one by one by
/// ``takeDescriptor()``. Descriptors that are not taken close with the message. All descriptors are
/// close-on-exec (`MSG_CMSG_CLOEXEC`).
public final class ReceivedMessage: Sendable, ControlMessageContainer {
  /// The bytes.
  public let payload: [UInt8]

  /// How many descriptors the message has brought, taken or not; under a policy, those that it has
  /// admitted.
  public let descriptorCount: Int

  /// How many bytes arrived; with ``ReceiveOptions/fullLength`` how many the message had, also
  /// where ``payload`` has fewer. See ``DeliveryStatus/fullLength``.
  public let byteCount: Int

  private let messageFlags: Int32
  private let metadata: MessageMetadata?
  private let descriptors: Mutex<OwnedFds>
  /// The counter of taken descriptors; nil if the message came without descriptors.
  private let takenDescriptors: TakenDescriptorCounter?

  /// Creates the message that a receive has returned; nil for the end of the stream.
  ///
  /// - Throws: ``SocketError``: `messageIncomplete` if part of the message is missing, unless the
  ///   socket's policy says to return it.
  @inline(never)
  @usableFromInline
  static func received(
    _ ended: consuming CompletedOperation, _ channel: SocketChannel, _ options: ReceiveOptions = []
  ) throws -> ReceivedMessage? {
    let tellsLength = options.contains(.fullLength)
    let isThrown = ended.throwsLoss(tellsLength: tellsLength)
    let payload = ended.takePayload()
    var descriptors = OwnedFds()
    var metadata: MessageMetadata?
    guard let parts = ended.takeMessage(descriptors: &descriptors, metadata: &metadata) else {
      return nil
    }
    let message = ReceivedMessage(
      payload, descriptors, metadata, parts, channel, tellsLength: tellsLength)
    if isThrown { throw message.incompleteness(channel) }
    return message
  }

  /// The error for this incomplete message. The error keeps the message.
  func incompleteness(_ channel: SocketChannel) -> any Error {
    channel.naming(SocketError.messageIncomplete(outcome, keeping: self))
  }

  /// - Parameter channel: The socket's channel; nil for a message that a test has made.
  package convenience init(_ received: consuming OperationOutcome, _ channel: SocketChannel?) {
    var descriptors = OwnedFds()
    swap(&descriptors, &received.descriptors)
    self.init(
      received.takePayload(), descriptors, received.metadata.take(),
      (received.byteCount, received.messageFlags), channel, tellsLength: false)
  }

  private init(
    _ payload: [UInt8], _ descriptors: consuming OwnedFds, _ metadata: MessageMetadata?,
    _ parts: (byteCount: Int, messageFlags: Int32), _ channel: SocketChannel?, tellsLength: Bool
  ) {
    self.payload = payload
    descriptorCount = descriptors.count
    byteCount = tellsLength ? metadata?.fullLength ?? parts.byteCount : parts.byteCount
    messageFlags = parts.messageFlags
    self.metadata = metadata
    takenDescriptors = descriptors.isEmpty ? nil : channel?.takenDescriptors
    self.descriptors = Mutex(descriptors)
  }

  /// The sender, if the socket asks for it (`SO_PASSCRED`). The C name is `SCM_CREDENTIALS`.
  public var credentials: Credentials? { metadata?.credentials?.known }

  /// All control messages as they arrived, unknown kinds included, if there were others than
  /// descriptors; in the places of descriptors stands -1.
  public var control: ControlMessageBuffer { metadata?.control ?? ControlMessageBuffer() }

  /// The parts of the message that did not arrive.
  public var outcome: DeliveryStatus { DeliveryStatus(flags: messageFlags, metadata) }

  /// Flags of the message, such as ``ReceiveFlags/endOfRecord``. ``outcome`` describes missing
  /// parts. The C name is `msg_flags`.
  public var flags: ReceiveFlags { ReceiveFlags(systemFlags: messageFlags) }

  /// The address that a datagram came from; nil if its socket has no name, and on connections. The
  /// C name is `msg_name`.
  public var sender: AnySocketAddress? { metadata?.sender }

  /// Gives away all descriptors that are left, in the order in which they were sent. A second call
  /// gets none.
  public func takeDescriptors() -> OwnedFds {
    descriptors.withLock { owned in
      var taken = OwnedFds()
      swap(&taken, &owned)
      noteTaken(taken.count)
      return taken
    }
  }

  /// Gives away the descriptor of the sender's process, if the socket asks for it
  /// (``SocketOption/passProcessDescriptor``); nil if there is none, or it was taken before. The C
  /// name is `SCM_PIDFD`.
  ///
  /// - Throws: Why the kernel could not make it: `ESRCH`, the sender has ended.
  public func takeProcess() throws(Errno) -> ProcessFd? { try metadata?.takeProcess()?.get() }

  /// Gives away the first descriptor that is left.
  public func takeDescriptor() -> OwnedFd? {
    descriptors.withLock { owned in
      if !owned.isEmpty { noteTaken(1) }
      return owned.takeFirst()
    }
  }

  /// Takes the descriptor at `index`, counted among those that are left; nil if there are fewer.
  package func takeDescriptor(at index: Int) -> OwnedFd? {
    descriptors.withLock { owned in
      guard index >= 0, index < owned.count else { return nil }
      noteTaken(1)
      return owned.remove(at: index)
    }
  }

  private func noteTaken(_ count: Int) {
    takenDescriptors?.add(count)
    metadata?.evaluation?.handedOver(count)
  }

  deinit {
    if let evaluation = metadata?.evaluation { descriptors.withLock { evaluation.discard(&$0) } }
  }
}

extension SocketError {
  /// The message, as far as it arrived, of ``Code/messageIncomplete``, and its ``outcome``. It is
  /// the error's: descriptors that are not taken from it close with the last copy of the error.
  ///
  /// Of a receive into memory of the caller's the bytes are here, and none were appended there.
  public var message: ReceivedMessage? { delivered as? ReceivedMessage }
}
