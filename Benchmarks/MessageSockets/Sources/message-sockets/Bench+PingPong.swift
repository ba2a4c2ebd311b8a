// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import MessageSockets

extension Bench {
  /// The end that receives a message answers it. Both ends of a pair are on one loop.
  func pingpong() async throws -> Duration {
    try await withThrowingTaskGroup { group in
      for index in 0..<options.pairCount {
        let loop = loop(index)
        let (near, far) = try Socket.makePair(on: loop)
        addTask(to: &group, on: loop) {
          try await ask(near, messagesPerAnswer: 2)
          // A datagram socket does not notice that its peer has closed.
          await far.close()
        }
        addTask(to: &group, on: loop) { try await answer(far) }
      }
      return try await measure(&group)
    }
  }

  /// Sends and waits for the answer, until the time is over.
  func ask(_ socket: Socket, messagesPerAnswer: Int) async throws {
    var receiver = receiver(on: socket)
    var counter = Meter.Counter(meter)
    var left = messages ?? Int.max
    while meter.isRunning && left > 0 {
      try await outgoing.send(on: socket)
      var answers = 0
      while answers == 0 {
        guard let count = try await receiver.receive() else { throw Failure("the peer closed") }
        answers = count
      }
      counter.add(messagesPerAnswer)
      left -= messagesPerAnswer
    }
    await socket.close()
  }

  /// Answers until the peer closes, or the socket is closed.
  func answer(_ socket: Socket) async throws {
    var receiver = receiver(on: socket)
    do {
      while let count = try await receiver.receive() {
        if count > 0 { try await outgoing.send(on: socket) }
      }
    } catch let error as SocketError where error.code == .closed {}
    await socket.close()
  }
}
