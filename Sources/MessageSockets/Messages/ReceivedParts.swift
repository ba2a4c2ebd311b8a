public import Ancillary
internal import SocketEngine

/// What came with a message whose bytes were received into the caller's own memory. Owns the descriptors: what is not taken closes with it.
public struct ReceivedParts: ~Copyable, Sendable {
  /// How many bytes were appended to the caller's memory.
  public let byteCount: Int

  /// The descriptors, in the order in which they were sent, close-on-exec. (`SCM_RIGHTS`)
  public var descriptors: OwnedFds

  /// Who sent it, if the socket asks for that. (`SCM_CREDENTIALS`)
  public let credentials: Credentials?

  /// All control messages, if there were others than descriptors; in the places of descriptors stands -1.
  public let control: ControlMessageBuffer

  /// What did not arrive.
  public let outcome: ReceiveOutcome

  /// Nil for the end of the stream.
  init?(_ received: consuming OperationOutcome) {
    if received.isEnd { return nil }
    byteCount = received.byteCount
    credentials = received.ancillary.credentials
    control = received.control
    outcome = received.report
    descriptors = OwnedFds()
    swap(&descriptors, &received.ancillary.descriptors)
    if let judgement = received.judgement { judgement.handedOver(descriptors.count) }
  }
}
