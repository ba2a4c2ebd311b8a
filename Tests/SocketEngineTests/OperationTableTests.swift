// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SocketEngine

@Suite struct OperationTableTests {
  /// A late completion, or a late cancellation from another thread, must not find the slot's next
  /// use.
  @Test func anIdentifierNamesOneUseOfASlot() async throws {
    let loop = try IOLoop()
    await loop.run {
      let core = loop.core
      let first = core.makeOperation(.event, socket: nil)
      let id = first.id
      #expect(core.operations.find(id) == first)
      first.discard(on: core)
      #expect(core.operations.find(id) == nil)
      let second = core.makeOperation(.event, socket: nil)
      #expect(second == first, "the slot is used again")
      #expect(core.operations.find(id) == nil)
      #expect(core.operations.find(second.id) == second)
      core.stopFromAnywhere(id, .taskCancelled)
      #expect(second.life.state == .queued)
      second.discard(on: core)
    }
    await loop.shutdown()
  }
}
