// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// What a policy has to make of a delivery; all descriptors are pipes.
struct Verdict {
  var admitted: [UInt64]
  var surplus: Int
  var refused = 0
  var isViolation = false
  /// Something is missing, and the policy says that it is thrown.
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
    // Nothing may be delivered instead of an error.
    if delivery.errno != nil { self.isViolation = false }
  }
}
