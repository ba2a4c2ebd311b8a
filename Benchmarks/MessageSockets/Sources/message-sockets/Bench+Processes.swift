// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Harness
internal import MessageSockets

extension Bench where Socket: UnixConnection {
  /// Ping-pong with the far ends in a child process: another instance of this program, which
  /// connects to this one.
  func acrossProcesses() async throws -> Duration {
    if let parent { return try await answer(to: parent) }
    let listener = try UnixListener<Socket>.bind(
      to: Self.address(of: getpid()), on: loop(0), connectionsOn: loops)
    let child = try Child(
      arguments: Array(CommandLine.arguments.dropFirst()) + ["--parent", "\(getpid())"])
    let elapsed = try await withThrowingTaskGroup { group in
      for _ in 0..<options.pairCount {
        let socket = try await listener.accept()
        // The child receives and sends as much as this process, so each message here counts twice.
        addTask(to: &group, on: socket.loop) { try await ask(socket, messagesPerAnswer: 2) }
      }
      return try await measure(&group)
    }
    await listener.close()
    try child.wait()
    return elapsed
  }

  /// The child's part. Its duration does not matter.
  private func answer(to parent: Int32) async throws -> Duration {
    try await withThrowingTaskGroup { group in
      for index in 0..<options.pairCount {
        let socket = try await Socket.connect(to: Self.address(of: parent), on: loop(index))
        addTask(to: &group, on: socket.loop) { try await answer(socket) }
      }
      try await group.waitForAll()
    }
    return .zero
  }
}
