// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Harness
internal import MessageSockets

extension Bench where Socket: UnixConnection {
  /// An address that is freed when the process ends.
  static func address(of process: Int32) throws -> UnixAddress {
    try UnixAddress(abstract: "message-sockets-benchmark-\(process)")
  }

  /// Connect, accept, one message, close both ends; with `--pairs` concurrent connections.
  func accept() async throws -> Duration {
    let listener = try UnixListener<Socket>.bind(to: Self.address(of: getpid()), on: loop(0))
    let slots = Slots(options.pairCount)
    return try await withThrowingTaskGroup { group in
      group.addTask(executorPreference: executor(of: listener.loop)) {
        try await serve(listener, slots)
      }
      group.addTask(executorPreference: executor(of: listener.loop)) {
        try await connect(to: listener, slots)
        await listener.close()
      }
      return try await measure(&group)
    }
  }

  /// Connects as many concurrent clients as there are slots.
  private func connect(to listener: UnixListener<Socket>, _ slots: Slots) async throws {
    try await withThrowingDiscardingTaskGroup { group in
      for _ in 0..<options.pairCount {
        group.addTask {
          while meter.isRunning {
            // The slot is freed when the server has closed its end.
            await slots.acquire()
            let client = try await Socket.connect(to: listener.address, on: listener.loop)
            try await outgoing.send(on: client)
            await client.close()
          }
        }
      }
    }
    await slots.acquire(options.pairCount)
  }

  private func serve(_ listener: UnixListener<Socket>, _ slots: Slots) async throws {
    try await withThrowingDiscardingTaskGroup { group in
      for try await connection in listener.connections {
        group.addTask {
          var receiver = receiver(on: connection)
          var counter = Meter.Counter(meter)
          guard try await receiver.receive() == 1 else { throw Failure("the peer closed") }
          await connection.close()
          counter.add(1)
          slots.release()
        }
      }
    }
  }
}
