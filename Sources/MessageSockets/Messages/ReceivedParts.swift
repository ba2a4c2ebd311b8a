// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine
public import SystemPackage

/// What came with a message whose bytes were received into the caller's own memory. Owns the
/// descriptors: what is not taken closes with it.
///
/// Control messages of other kinds are properties: ``ControlMessageCarrier``.
public struct ReceivedParts: ~Copyable, Sendable, ControlMessageCarrier {
  /// How many bytes were appended to the caller's memory; with ``ReceiveOptions/fullLength`` how
  /// many the message had, also where there was less room.
  public let byteCount: Int

  /// The descriptors, in the order in which they were sent, close-on-exec. (`SCM_RIGHTS`)
  public var descriptors: OwnedFds

  private let messageFlags: Int32
  private let extras: MessageExtras?

  /// Nil for the end of the stream.
  @inline(never)
  init?(_ ended: consuming EndedOperation, _ channel: SocketChannel) {
    var received = ended.takeOutcome()
    if received.isEnd { return nil }
    byteCount = received.byteCount
    messageFlags = received.messageFlags
    extras = received.extras.take()
    descriptors = OwnedFds()
    swap(&descriptors, &received.descriptors)
    if !descriptors.isEmpty { channel.noteClaimed(descriptors.count) }
    if let judgement = extras?.judgement { judgement.handedOver(descriptors.count) }
  }

  /// Who sent it, if the socket asks for that. (`SCM_CREDENTIALS`)
  public var credentials: Credentials? { extras?.credentials }

  /// All control messages, if there were others than descriptors; in the places of descriptors
  /// stands -1.
  public var control: ControlMessageBuffer { extras?.control ?? ControlMessageBuffer() }

  /// What did not arrive.
  public var outcome: ReceiveOutcome { ReceiveOutcome(flags: messageFlags, extras) }

  /// Flags of the message, as ``ReceiveFlags/endOfRecord``. What is missing, ``outcome`` says. The
  /// C name is `msg_flags`.
  public var flags: ReceiveFlags { ReceiveFlags(systemFlags: messageFlags) }

  /// Where a datagram came from; nil if its socket has no name, and on connections. The C name is
  /// `msg_name`.
  public var sender: AnySocketAddress? { extras?.sender }

  /// Gives away the descriptor of the sender's process; see ``ReceivedMessage/takeProcess()``.
  public mutating func takeProcess() -> Result<ProcessFd, Errno>? { extras?.takeProcess() }
}
