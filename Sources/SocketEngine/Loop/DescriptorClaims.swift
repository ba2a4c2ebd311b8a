// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// How many descriptors have been taken out of a loop's messages, on whichever thread.
package final class DescriptorClaims: Sendable {
  private let counter = Atomic<UInt64>(0)

  init() {}

  package func add(_ count: Int) { counter.add(UInt64(count), ordering: .relaxed) }

  var count: UInt64 { counter.load(ordering: .relaxed) }
}
