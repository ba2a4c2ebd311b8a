// SPDX-License-Identifier: Apache-2.0
/// Names one use of an operation's slot: the slot's index and how often the slot had been used
/// before.
///
/// The kernel gets this number as `user_data` and gives it back with each completion; other threads
/// get it to ask for a cancellation. A number can be compared after its operation is gone, a
/// pointer cannot: a late completion or a late cancellation finds another generation in the slot
/// and is dropped.
package struct OperationID: Hashable, Sendable {
  package let index: UInt32
  package let generation: UInt32

  package init(index: UInt32, generation: UInt32) {
    self.index = index
    self.generation = generation
  }

  package init(userData: UInt64) {
    index = UInt32(truncatingIfNeeded: userData)
    generation = UInt32(truncatingIfNeeded: userData >> 32)
  }

  package var userData: UInt64 { UInt64(generation) << 32 | UInt64(index) }
}
