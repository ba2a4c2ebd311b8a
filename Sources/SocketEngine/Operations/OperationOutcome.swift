package import Ancillary
internal import CMessageSockets
package import SystemPackage

/// What became of an operation: the kernel's last word, and all that it delivered. Owned by whoever awaits it.
package struct OperationOutcome: ~Copyable, Sendable {
  /// What the kernel said.
  package var result = OperationResult()
  /// `msg_flags` as the kernel left them (`MSG_TRUNC`, `MSG_CTRUNC`, `MSG_EOR` …).
  package var messageFlags: Int32 = 0
  /// The payload, where the engine lent the buffer.
  package var payload: [UInt8] = []
  /// Received descriptors, credentials, and the slots that held an error instead of a descriptor.
  package var ancillary = ReceivedAncillary()
  /// All control messages of a receive, with -1 in the place of each descriptor that ``ancillary`` owns.
  package var control = ControlMessageBuffer()
  /// Why control data is missing, with `MSG_CTRUNC` in ``messageFlags``.
  package var controlLoss: ControlLoss?
  /// What the socket's policy has said about the message, if it has one and there was something to say.
  package var judgement: PolicyJudgement?
  /// Where a datagram came from.
  package var sender: AnySocketAddress?
  /// The descriptor of an accepted connection.
  package var accepted: OwnedFd?

  package init() {}

  /// Bytes of a stream.
  init(bytes: ArraySlice<UInt8>) {
    payload = Array(bytes)
    result.byteCount = payload.count
  }

  package var byteCount: Int {
    get { result.byteCount }
    set { result.byteCount = newValue }
  }

  package var errno: Errno? {
    get { result.errno }
    set { result.errno = newValue }
  }

  /// For a receive: whether it found the end of the stream.
  package var isEnd = false

  /// Whether it is a received message, and not the end or an error.
  package var isMessage: Bool { errno == nil && !isEnd && judgement?.error == nil }

  /// The same, with descriptors of its own; an accepted connection is not copied.
  borrowing func copy() -> OperationOutcome {
    var copy = OperationOutcome()
    copy.result = result
    copy.messageFlags = messageFlags
    copy.payload = payload
    copy.ancillary = ReceivedAncillary(duplicating: ancillary)
    copy.control = control
    copy.controlLoss = controlLoss
    copy.judgement = judgement?.copy(holding: copy.ancillary.descriptors.count)
    copy.sender = sender
    copy.isEnd = isEnd
    return copy
  }

  /// A receive of nothing is the end: of a stream always, whatever the kernel attached to it (credentials, `SCM_INQ`), unless descriptors came with it. Of a
  /// seqpacket socket it may also be an empty message; that cannot be told from the end, unless somebody's credentials or a control message came with it. A
  /// datagram socket has none of its own.
  ///
  /// - Parameter wasStopped: and its socket is shut down for receiving.
  mutating func noteEnd(on kind: SocketKind, wasStopped: Bool = false) {
    guard byteCount == 0, ancillary.descriptors.isEmpty, ancillary.failures.isEmpty, messageFlags & cms_msg_errqueue == 0 else { return }
    switch kind {
    case .stream: isEnd = true
    // Descriptors that could not be delivered came with a message, too.
    case _ where messageFlags & cms_msg_ctrunc != 0: break
    case .seqpacket: isEnd = control.isEmpty || ancillary.credentials.map { $0.processID == nil } ?? false
    // It waited while nothing was there, and ended when the socket was shut down.
    case .datagram: isEnd = wasStopped && sender == nil && control.isEmpty
    }
  }
}
