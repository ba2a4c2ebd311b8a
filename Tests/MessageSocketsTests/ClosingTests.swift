// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

@testable import SocketEngine

extension KernelTests {
  /// A socket's descriptor closes only after the kernel has released everything that belongs to the
  /// socket.
  @Suite struct Closing {
    enum Pending: CaseIterable, Sendable { case message, errorQueue, outOfBand, send }

    @Test(arguments: Pending.allCases) func closingWaitsForWhatIsInTheKernel(pending: Pending)
      async throws
    {
      try await withOwnLoop { loop in
        let (left, right) = try UnixStream.makePair(on: loop)
        await loop.run {
          // While another job is ready, the request is submitted only at the end of the turn, so
          // the socket closes before the kernel has seen it.
          let other = Task(executorPreference: loop.taskExecutor) {}
          let task = Task.immediate(executorPreference: loop.taskExecutor) {
            try await Self.wait(for: pending, on: left)
          }
          #expect(loop.core.operationsInKernel == 1)
          await left.close()
          #expect(loop.core.operationsInKernel == 0)
          await other.value
          _ = await task.result
        }
        await right.close()
      }
    }

    private static func wait(for pending: Pending, on socket: UnixStream) async throws {
      switch pending {
      case .message: _ = try await socket.receiveMessage()
      case .errorQueue: _ = try await socket.receiveMessage(options: .errorQueue)
      case .outOfBand: _ = try await socket.receiveMessage(options: .outOfBand)
      case .send: try await socket.sendMessage([UInt8](repeating: 1, count: 10_000_000))
      }
    }
  }
}
