// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// The actions of one input on its socket. `@unchecked Sendable`: all of it runs on the loop's
/// thread.
final class Course: @unchecked Sendable {
  private let input: Input
  private let expected: Expectations
  private let policy: ReceivePolicy

  init(_ input: Input, _ expected: Expectations, _ policy: ReceivePolicy) {
    self.input = input
    self.expected = expected
    self.policy = policy
  }

  func run(_ socket: some UnixSocket) async throws {
    if policy != ReceivePolicy() { try await socket.setReceivePolicy(policy) }
    var receives = 0
    while !input.isEmpty, receives < 40 {
      receives += 1
      await receive(from: socket)
    }
    // Otherwise the socket is dropped.
    if input.oneIn(2) { await socket.close() }
  }

  private func receive(from socket: some UnixSocket) async {
    let receive = Receive(input)
    // The contents of a batch's messages depend on when earlier ones are dropped.
    if policy.maximumDescriptorsHeld != nil, receive.way == .batch { return }
    let arrivals = Arrivals()
    let task = Task(executorPreference: socket.loop.taskExecutor) {
      await receive.run(on: socket, into: arrivals)
    }
    let isCancelled = input.oneIn(4)
    if isCancelled {
      for _ in 0..<input.number(0...4) { await Task.yield() }
      task.cancel()
    }
    await task.value
    expected.take(arrivals.all, of: receive, wasCancelled: isCancelled)
  }
}
