// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Synchronization
import Testing

extension KernelTests {
  /// A task that starts on the loop's thread without preferring the loop continues elsewhere after
  /// its first wait.
  @Suite(.timeLimit(.minutes(1))) struct ImmediateTasks {
    @Test func aBatchGoesOnElsewhere() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixSeqpacket.makePair()
        for round in 0..<50 as Range<UInt8> {
          let (task, startedOnLoop) = await loop.run { startBatch(right, on: loop) }
          #expect(startedOnLoop)
          for number in 0..<3 {
            try await left.sendMessage([round, UInt8(number)], descriptor: try .numbered(number))
          }
          var received = try await task.value
          while received.count < 3 { received += try await right.receiveMessages(upTo: 4) }
          #expect(received.map(\.payload) == [[round, 0], [round, 1], [round, 2]])
        }
        await left.close()
        await right.close()
      }
    }

    @Test func acceptingGoesOnElsewhereAfterARefusal() async throws {
      try await withDescriptorOracle { loop in
        let seen = Mutex(0)
        let authorization = Authorization.custom { _ in
          seen.withLock { seen in
            seen += 1
            return seen > 1
          }
        }
        let listener = try UnixListener<UnixSeqpacket>.bind(
          to: try .unused(), authorization: authorization)
        let (task, startedOnLoop) = await loop.run { startAccept(listener, on: loop) }
        #expect(startedOnLoop)
        let refused = try await UnixSeqpacket.connect(to: listener.address)
        let admitted = try await UnixSeqpacket.connect(to: listener.address)
        let connection = try await task.value
        try await admitted.sendMessage([1])
        #expect(try await connection.receiveMessage()?.payload == [1])
        #expect(try await refused.receiveMessage() == nil)
        for socket in [refused, admitted, connection] { await socket.close() }
        await listener.close()
      }
    }
  }
}

private func startBatch(_ socket: UnixSeqpacket, on loop: IOLoop) -> (
  Task<[ReceivedMessage], any Error>, Bool
) {
  let startedOnLoop = Mutex(false)
  let task = Task.immediate {
    startedOnLoop.withLock { $0 = loop.isCurrent }
    return try await socket.receiveMessages(upTo: 4)
  }
  return (task, startedOnLoop.withLock { $0 })
}

private func startAccept(_ listener: UnixListener<UnixSeqpacket>, on loop: IOLoop) -> (
  Task<UnixSeqpacket, any Error>, Bool
) {
  let startedOnLoop = Mutex(false)
  let task = Task.immediate {
    startedOnLoop.withLock { $0 = loop.isCurrent }
    return try await listener.accept()
  }
  return (task, startedOnLoop.withLock { $0 })
}
