// SPDX-License-Identifier: Apache-2.0
package import SystemPackage

/// The kernel's last word on an operation, without what it delivered.
package struct OperationResult: Sendable {
  /// Bytes transferred; for a send in several parts, the sum of them.
  package var byteCount = 0
  /// Why the operation failed, or nil. A send may have failed after ``byteCount`` bytes had gone
  /// out.
  package var errno: Errno?
  /// Why it was asked to stop, if it was. It may have succeeded all the same: then ``errno`` is
  /// nil.
  package var stopReason: StopReason?

  package init() {}
}
