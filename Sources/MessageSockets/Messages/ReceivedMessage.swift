public import Ancillary
internal import SocketEngine
internal import Synchronization
public import SystemPackage

/// One received message: its bytes, and the descriptors that came with them, which it owns until they are taken.
///
/// The descriptors are given away once, as a whole by ``takeDescriptors()`` or one by one by ``takeDescriptor()``. What nobody has taken closes with the
/// message. All descriptors are close-on-exec (`MSG_CMSG_CLOEXEC`).
public final class ReceivedMessage: Sendable, ControlMessageCarrier {
  /// The bytes.
  public let payload: [UInt8]

  /// How many descriptors the message has brought, taken or not; under a policy, those that it has admitted.
  public let descriptorCount: Int

  /// Who sent it, if the socket asks for that (`SO_PASSCRED`). The C name is `SCM_CREDENTIALS`.
  public let credentials: Credentials?

  /// All control messages as they arrived, unknown kinds included, if there were others than descriptors; in the places of descriptors stands -1.
  public let control: ControlMessageBuffer

  /// What did not arrive.
  public let outcome: ReceiveOutcome

  /// How many bytes arrived; with ``ReceiveOptions/fullLength`` how many the message had, also where ``payload`` has fewer.
  public let byteCount: Int

  /// Flags of the message, as ``ReceiveFlags/endOfRecord``. What is missing, ``outcome`` says. The C name is `msg_flags`.
  public let flags: ReceiveFlags

  /// Where a datagram came from; nil if its socket has no name, and on connections. The C name is `msg_name`.
  public let sender: AnySocketAddress?

  private let descriptors: Mutex<OwnedFds>
  private let judgement: PolicyJudgement?
  /// Nil if there is nothing to claim.
  private let claims: DescriptorClaims?
  private let process: Mutex<Result<ProcessFd, Errno>?>

  /// Nil for the end of the stream.
  init?(_ received: consuming OperationOutcome, _ claims: DescriptorClaims) {
    if received.isEnd { return nil }
    let count = received.ancillary.descriptors.count
    outcome = received.report
    judgement = received.judgement
    payload = received.payload
    control = received.control
    credentials = received.ancillary.credentials
    byteCount = received.byteCount
    flags = ReceiveFlags(systemFlags: received.messageFlags)
    sender = received.sender
    descriptorCount = count
    self.claims = count == 0 ? nil : claims
    process = Mutex(received.ancillary.process.take())
    var owned = OwnedFds()
    swap(&owned, &received.ancillary.descriptors)
    descriptors = Mutex(owned)
  }

  /// Gives away all descriptors that are left, in the order in which they were sent. A second call gets none.
  public func takeDescriptors() -> OwnedFds {
    descriptors.withLock { owned in
      var taken = OwnedFds()
      swap(&taken, &owned)
      noteTaken(taken.count)
      return taken
    }
  }

  /// Gives away the descriptor of the sender's process, if the socket asks for it (``SocketOption/passProcessDescriptor``); nil if there is none, or it was taken
  /// before. A failure says why the kernel could not make it: `ESRCH`, the sender has ended. The C name is `SCM_PIDFD`.
  public func takeProcess() -> Result<ProcessFd, Errno>? { process.withLock { $0.take() } }

  /// Gives away the first descriptor that is left.
  public func takeDescriptor() -> OwnedFd? {
    descriptors.withLock { owned in
      if !owned.isEmpty { noteTaken(1) }
      return owned.takeFirst()
    }
  }

  private func noteTaken(_ count: Int) {
    claims?.add(count)
    judgement?.handedOver(count)
  }

  deinit {
    if let judgement { descriptors.withLock { judgement.discard(&$0) } }
  }
}
