// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
internal import SystemPackage

extension OperationOutcome {
  /// Makes a message without the kernel, for tests of code that handles messages. The outcome
  /// equals that of a real receive.
  ///
  /// - Parameters:
  ///   - control: The control messages other than the descriptors.
  ///   - flags: `MSG_TRUNC` and `MSG_CTRUNC` are added if `loss` implies them.
  ///   - loss: Which parts are missing.
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
  /// All control messages of a message that brought `count` descriptors, with -1 in place of each.
  fileprivate init(_ others: ControlMessageBuffer, behindRights count: Int) {
    self.init()
    if count > 0 {
      let slots = [UInt8](repeating: 0xFF, count: count * MemoryLayout<Int32>.size)
      // SAFETY: every byte of a byte array is initialized.
      append(
        level: ControlMessageKind.rights.level, type: ControlMessageKind.rights.type,
        bytes: unsafe slots.span.bytes)
    }
    for other in others { append(other.message) }
  }
}
