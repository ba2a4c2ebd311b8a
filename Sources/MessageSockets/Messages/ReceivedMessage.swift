// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine
internal import Synchronization
public import SystemPackage

/// One received message: its bytes, and the descriptors that came with them, which it owns until
/// they are taken.
///
/// The descriptors are given away once, as a whole by ``takeDescriptors()`` or one by one by
/// ``takeDescriptor()``. What nobody has taken closes with the message. All descriptors are
/// close-on-exec (`MSG_CMSG_CLOEXEC`).
public final class ReceivedMessage: Sendable, ControlMessageCarrier {
  /// The bytes.
  public let payload: [UInt8]

  /// How many descriptors the message has brought, taken or not; under a policy, those that it has
  /// admitted.
  public let descriptorCount: Int

  /// How many bytes arrived; with ``ReceiveOptions/fullLength`` how many the message had, also
  /// where ``payload`` has fewer.
  public let byteCount: Int

  private let messageFlags: Int32
  private let extras: MessageExtras?
  private let descriptors: Mutex<OwnedFds>
  /// Nil if there is nothing to claim.
  private let claims: DescriptorClaims?

  /// Nil for the end of the stream.
  @inline(never)
  init?(_ ended: consuming EndedOperation, _ channel: SocketChannel) {
    var received = ended.takeOutcome()
    if received.isEnd { return nil }
    let count = received.descriptors.count
    // Moved, not copied.
    var bytes: [UInt8] = []
    swap(&bytes, &received.payload)
    payload = bytes
    descriptorCount = count
    byteCount = received.byteCount
    messageFlags = received.messageFlags
    extras = received.extras.take()
    claims = count == 0 ? nil : channel.claims
    var owned = OwnedFds()
    swap(&owned, &received.descriptors)
    descriptors = Mutex(owned)
  }

  /// Who sent it, if the socket asks for that (`SO_PASSCRED`). The C name is `SCM_CREDENTIALS`.
  public var credentials: Credentials? { extras?.credentials }

  /// All control messages as they arrived, unknown kinds included, if there were others than
  /// descriptors; in the places of descriptors stands -1.
  public var control: ControlMessageBuffer { extras?.control ?? ControlMessageBuffer() }

  /// What did not arrive.
  public var outcome: ReceiveOutcome { ReceiveOutcome(flags: messageFlags, extras) }

  /// Flags of the message, as ``ReceiveFlags/endOfRecord``. What is missing, ``outcome`` says. The
  /// C name is `msg_flags`.
  public var flags: ReceiveFlags { ReceiveFlags(systemFlags: messageFlags) }

  /// Where a datagram came from; nil if its socket has no name, and on connections. The C name is
  /// `msg_name`.
  public var sender: AnySocketAddress? { extras?.sender }

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
  /// (``SocketOption/passProcessDescriptor``); nil if there is none, or it was taken before. A
  /// failure says why the kernel could not make it: `ESRCH`, the sender has ended. The C name is
  /// `SCM_PIDFD`.
  public func takeProcess() -> Result<ProcessFd, Errno>? { extras?.takeProcess() }

  /// Gives away the first descriptor that is left.
  public func takeDescriptor() -> OwnedFd? {
    descriptors.withLock { owned in
      if !owned.isEmpty { noteTaken(1) }
      return owned.takeFirst()
    }
  }

  private func noteTaken(_ count: Int) {
    claims?.add(count)
    extras?.judgement?.handedOver(count)
  }

  deinit {
    if let judgement = extras?.judgement { descriptors.withLock { judgement.discard(&$0) } }
  }
}
