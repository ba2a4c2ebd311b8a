// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import MessageSockets

extension Bench {
  /// A task receives, is cancelled when its receive is pending in the kernel, and its end is
  /// awaited.
  func cancel() async throws -> Duration {
    try await withThrowingTaskGroup { group in
      for index in 0..<options.pairCount {
        let loop = loop(index)
        let (near, far) = try Socket.makePair(on: loop)
        group.addTask(executorPreference: executor(of: loop)) {
          var counter = Meter.Counter(meter)
          while meter.isRunning {
            try await cancelOne(on: near)
            counter.add(1)
          }
          await near.close()
          await far.close()
        }
      }
      return try await measure(&group)
    }
  }

  private func cancelOne(on socket: Socket) async throws {
    let receive = Task(executorPreference: executor(of: socket.loop)) {
      var receiver = receiver(on: socket)
      return try await receiver.receive()
    }
    // One turn for the task to start, and one for the loop to submit its receive.
    await Task.yield()
    await Task.yield()
    receive.cancel()
    guard case .failure(let error) = await receive.result, error is CancellationError else {
      throw Failure("a cancelled receive brought something")
    }
  }
}
