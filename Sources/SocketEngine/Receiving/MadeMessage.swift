// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension OperationOutcome {
  /// A message that no kernel has delivered, for tests of the code that handles messages. It is
  /// what a receive would have returned.
  ///
  /// - Parameters:
  ///   - control: The control messages beside the descriptors.
  ///   - flags: `MSG_TRUNC` and `MSG_CTRUNC` are added where `loss` says so.
  ///   - loss: What is missing.
  package init(
    payload: [UInt8], descriptors: consuming OwnedFds, control: ControlMessageBuffer,
    process: consuming ProcessFd?, sender: AnySocketAddress?, flags: Int32,
    missing loss: DeliveryStatus
  ) {
    self.init()
    self.payload = payload
    byteCount = payload.count
    messageFlags =
      flags | (loss.isPayloadTruncated ? cms_msg_trunc : 0)
      | (loss.isControlTruncated ? cms_msg_ctrunc : 0)
    let rights = descriptors.count
    swap(&self.descriptors, &descriptors)
    let metadata = MessageMetadata()
    metadata.failures = loss.failures
    metadata.controlTruncation = loss.controlTruncation
    metadata.fullLength = loss.fullLength
    metadata.sender = sender
    if !control.isEmpty {
      metadata.control = ControlMessageBuffer(control, behindRights: rights)
      metadata.credentials = try? control.messages.first(Credentials.self)
    }
    if let process { metadata.setProcess(.success(process)) }
    if loss.surplus > 0 || !loss.refused.isEmpty {
      metadata.evaluation = PolicyEvaluation(
        PolicyEnforcer(ReceivePolicy(), closing: ClosingQueue()), surplus: loss.surplus,
        refused: loss.refused, error: nil, closed: loss.surplus + loss.refused.count, held: rights)
    }
    self.metadata = metadata
  }
}

extension ControlMessageBuffer {
  /// All control messages of a message that brought `count` descriptors, with -1 in their places.
  fileprivate init(_ others: ControlMessageBuffer, behindRights count: Int) {
    self.init()
    if count > 0 {
      let slots = [UInt8](repeating: 0xFF, count: count * MemoryLayout<Int32>.size)
      // SAFETY: every byte of an array of bytes is initialised.
      append(
        level: ControlMessageKind.rights.level, type: ControlMessageKind.rights.type,
        bytes: unsafe slots.span.bytes)
    }
    for other in others { append(other.message) }
  }
}
