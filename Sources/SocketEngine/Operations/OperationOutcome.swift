// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
package import SystemPackage

/// What became of an operation: the kernel's last word, and all that it delivered. Owned by whoever
/// awaits it.
package struct OperationOutcome: ~Copyable, Sendable {
  /// What the kernel said.
  package var result = OperationResult()
  /// `msg_flags` as the kernel left them (`MSG_TRUNC`, `MSG_CTRUNC`, `MSG_EOR` …).
  package var messageFlags: Int32 = 0
  /// The payload, where the engine lent the buffer.
  package var payload: [UInt8] = []
  /// The descriptors of a received message; that of an accepted connection.
  package var descriptors = OwnedFds()
  /// What else came with a message; nil if nothing did.
  package var extras: MessageExtras?

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

  package var judgement: PolicyJudgement? {
    get { extras?.judgement }
    set { withExtras { $0.judgement = newValue } }
  }

  /// Fills what most messages do not have.
  mutating func withExtras(_ body: (MessageExtras) -> Void) {
    let extras = extras ?? MessageExtras()
    self.extras = extras
    body(extras)
  }

  /// The same message, with descriptors of its own.
  borrowing func copy() -> OperationOutcome {
    var copy = OperationOutcome()
    copy.result = result
    copy.messageFlags = messageFlags
    copy.payload = payload
    var failures = extras?.failures ?? []
    copy.descriptors = OwnedFds(duplicating: descriptors, failures: &failures)
    if extras != nil || !failures.isEmpty {
      copy.extras = (extras ?? MessageExtras()).copy(
        holding: copy.descriptors.count, failures: failures)
    }
    copy.isEnd = isEnd
    return copy
  }

  /// A receive of nothing is the end: of a stream always, whatever the kernel attached to it
  /// (credentials, `SCM_INQ`), unless descriptors came with it. Of a seqpacket socket it may also
  /// be an empty message; that cannot be told from the end, unless somebody's credentials or a
  /// control message came with it. A datagram socket has none of its own.
  ///
  /// - Parameter wasStopped: and its socket is shut down for receiving.
  mutating func noteEnd(on kind: SocketKind, wasStopped: Bool = false) {
    guard byteCount == 0, descriptors.isEmpty, extras?.failures.isEmpty ?? true,
      messageFlags & cms_msg_errqueue == 0
    else { return }
    let hasControl = !(extras?.control.isEmpty ?? true)
    switch kind {
    case .stream: isEnd = true
    // Descriptors that could not be delivered came with a message, too.
    case _ where messageFlags & cms_msg_ctrunc != 0: break
    case .seqpacket: isEnd = !hasControl || extras?.credentials.map { $0.processID == nil } ?? false
    // It waited while nothing was there, and ended when the socket was shut down.
    case .datagram: isEnd = wasStopped && extras?.sender == nil && !hasControl
    }
  }
}
