// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import MessageSockets

extension Bench {
  /// One end sends as fast as the socket allows, the other receives.
  func oneway() async throws -> Duration {
    try await withThrowingTaskGroup { group in
      for index in 0..<options.pairCount {
        let loop = loop(index)
        let (near, far) = try Socket.makePair(on: loop)
        addTask(to: &group, on: loop) {
          while meter.isRunning { try await outgoing.send(on: near) }
          await near.close()
        }
        addTask(to: &group, on: loop) { try await count(far) }
      }
      return try await measure(&group)
    }
  }

  /// Receives until the peer closes.
  private func count(_ socket: Socket) async throws {
    var receiver = receiver(on: socket)
    var counter = Meter.Counter(meter)
    while let count = try await receiver.receive() { counter.add(count) }
    await socket.close()
  }
}
