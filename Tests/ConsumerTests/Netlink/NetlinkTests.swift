// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import MessageSocketsTesting
import Testing

/// A third party's message socket, made with public declarations.
@Suite struct NetlinkTests {
  @Test func theKernelListsTheLoopbackInterface() async throws {
    try await withDescriptorCheck {
      let loop = try IOLoop()
      try await loop.run {
        let socket = try NetlinkSocket()
        let interfaces = try await NetworkInterface.all(on: socket)
        #expect(
          interfaces.contains(NetworkInterface(index: Int32(if_nametoindex("lo")), name: "lo")))
        // Ask again, after leaving the first iteration.
        #expect(try await NetworkInterface.all(on: socket) == interfaces)
        await socket.close()
      }
      await loop.shutdown()
    }
  }

  @Test func aCancelledReceiveLeavesTheAnswer() async throws {
    try await withDescriptorCheck {
      let loop = try IOLoop()
      try await loop.run {
        let socket = try NetlinkSocket()
        let waiting = Task(executorPreference: loop.taskExecutor) {
          try await socket.receiveMessage()
        }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        #expect(try await !NetworkInterface.all(on: socket).isEmpty)
        #expect(try await socket.option(.type) == Int32(SOCK_RAW.rawValue))
        await socket.close()
      }
      await loop.shutdown()
    }
  }
}
