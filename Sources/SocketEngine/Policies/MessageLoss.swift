// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

// Of a message that has arrived something may be missing: the end of its payload, or control data.
// By default that is thrown, with what arrived in the error (Docs/Decisions/0008).

extension OpenSocket {
  /// A message has arrived, or was cut on its way to the caller's memory: notes what of it is
  /// missing and is to be thrown.
  func noteLoss(_ outcome: inout OperationOutcome) {
    let flags = outcome.messageFlags
    let isCut = flags & cms_msg_trunc != 0 && kind != .stream
    let lacksControl = flags & cms_msg_ctrunc != 0 || outcome.metadata?.failures.isEmpty == false
    guard isCut || lacksControl else { return }
    let policy = policy?.policy ?? ReceivePolicy()
    // An entry of the error queue has a copy of what was sent; nothing of a message is lost.
    let isMessage = flags & cms_msg_errqueue == 0
    let throwsPayloadLoss = isCut && isMessage && policy.onPayloadTruncation == .throwError
    let throwsControlLoss = lacksControl && policy.onControlTruncation == .throwError
    guard throwsPayloadLoss || throwsControlLoss else { return }
    outcome.withMetadata { metadata in
      metadata.throwsPayloadLoss = throwsPayloadLoss
      metadata.throwsControlLoss = throwsControlLoss
    }
  }
}

extension OperationOutcome {
  /// Whether something of the message is missing, and that is to be thrown.
  package var throwsLoss: Bool { throwsLoss(tellsLength: false) }

  /// - Parameter tellsLength: The caller has asked for the message's length, and so learns by
  ///   itself that the payload was cut.
  package func throwsLoss(tellsLength: Bool) -> Bool {
    guard let metadata else { return false }
    return metadata.throwsControlLoss || metadata.throwsPayloadLoss && !tellsLength
  }
}

extension SocketError {
  /// Of a message something is missing.
  ///
  /// - Parameter message: What arrived.
  package static func messageIncomplete(
    _ outcome: DeliveryStatus, keeping message: any AnyObject & Sendable
  ) -> SocketError {
    var error = SocketError(
      .messageIncomplete, .receive, detail: outcome.description, outcome: outcome)
    error.delivered = message
    return error
  }
}
