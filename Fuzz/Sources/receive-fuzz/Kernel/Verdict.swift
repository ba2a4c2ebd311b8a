// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// The expected effect of a policy on a delivery; all descriptors are pipes.
struct Verdict {
  var admitted: [UInt64]
  var surplus: Int
  var refused = 0
  var isViolation = false
  /// Whether part of the message is missing and the policy requires that to be thrown.
  var throwsPayloadLoss = false
  var throwsControlLoss = false

  init(_ policy: ReceivePolicy, _ delivery: Delivery, isTruncated: Bool, isControlTruncated: Bool) {
    let files = delivery.control.files
    let most = min(policy.maximumDescriptorsPerMessage, policy.maximumDescriptorsHeld ?? .max)
    admitted = Array(files.prefix(most))
    surplus = files.count - admitted.count
    if policy.allowed == [.regularFile] {
      refused = admitted.count
      admitted = []
    }
    let isIncomplete = isControlTruncated || !delivery.control.failures.isEmpty
    isViolation =
      surplus > 0 && policy.onSurplus == .throwError
      || refused > 0 && policy.onRefusal == .throwError
    throwsPayloadLoss = isTruncated && policy.onPayloadTruncation == .throwError
    throwsControlLoss = isIncomplete && policy.onControlTruncation == .throwError
    // An error must not be replaced by a message.
    if delivery.errno != nil { self.isViolation = false }
  }
}
