// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import ServiceManagement
import SocketEngine
import SystemPackage

/// Lasting connections: each line is answered, and between two lines the connection can move to
/// another process. A client's line must arrive in one piece.
final class Sessions: Sendable {
  /// A session that has come from another process.
  struct Inherited: Sendable {
    var socket: any StreamSocket
    var name: String
  }

  private struct State: ~Copyable {
    var next = 0
    var tasks: [Int: Task<Void, Never>] = [:]
    var areGivenAway = false
    var released = NamedDescriptors()
  }

  private let state = TSanVisibleMutex(State())

  /// Takes the sessions from the items that were handed over.
  static func take(from descriptors: inout NamedDescriptors) throws -> [Inherited] {
    var sessions: [Inherited] = []
    for name in descriptors.names {
      if name == "session-web" {
        let socket: TCPStream = try descriptors.takeConnection(named: name)
        sessions.append(Inherited(socket: socket, name: name))
      } else if name == "session-local" {
        let socket: UnixStream = try descriptors.takeConnection(named: name)
        sessions.append(Inherited(socket: socket, name: name))
      }
    }
    return sessions
  }

  /// Returns when the client has ended, the session was given away, or the task is cancelled.
  func serve(_ socket: some StreamSocket, named name: String) async {
    let (number, task) = state.withLock { state in
      let task = Task(executorPreference: socket.loop.taskExecutor) {
        await self.run(socket, name)
      }
      state.next += 1
      state.tasks[state.next] = task
      return (state.next, task)
    }
    await withTaskCancellationHandler {
      await task.value
    } onCancel: {
      task.cancel()
    }
    state.withLock { $0.tasks[number] = nil }
  }

  func serve(_ session: Inherited) async { await serve(session.socket, named: session.name) }

  /// Stops all sessions, each after its current answer, and returns those that are still open.
  func giveAway() async -> NamedDescriptors {
    state.withLock { $0.areGivenAway = true }
    await end()
    return state.withLock { state in
      state.areGivenAway = false
      var released = NamedDescriptors()
      swap(&released, &state.released)
      return released
    }
  }

  /// Closes all sessions.
  func end() async {
    let tasks = state.withLock { Array($0.tasks.values) }
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }

  private func run(_ socket: some StreamSocket, _ name: String) async {
    do {
      try await answer(socket)
    } catch is CancellationError {
      if state.withLock({ $0.areGivenAway }) {
        // In a separate task, because this one was cancelled.
        await Task(executorPreference: socket.loop.taskExecutor) {
          await self.release(socket, name)
        }.value
      }
    } catch { say("a session has failed: \(error)") }
    await socket.close()
  }

  /// Answers prefetched lines first, because the next process would not get them.
  private func release(_ socket: some StreamSocket, _ name: String) async {
    var bytes: [UInt8] = []
    while true {
      do {
        var descriptor: OwnedFd? = try await socket.release()
        return try state.withLock { try $0.released.append(descriptor.take()!, named: name) }
      } catch let error as SocketError where error.code == .messagesUnread {
        do {
          guard let message = try await socket.receiveMessage() else { return }
          try await answer(message, on: socket, &bytes)
        } catch { return say("a session has failed: \(error)") }
      } catch { return say("a session is lost: \(error)") }
    }
  }

  private func answer(_ socket: some StreamSocket) async throws {
    var bytes: [UInt8] = []
    while let message = try await socket.receiveMessage() {
      try await answer(message, on: socket, &bytes)
    }
  }

  private func answer(
    _ message: ReceivedMessage, on socket: some StreamSocket, _ bytes: inout [UInt8]
  ) async throws {
    bytes += message.payload
    while let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
      let answer = EchoServer.answer(to: bytes[..<end])
      bytes.removeFirst(end + 1)
      // A request is answered even if the session is about to be given away.
      try await Task(executorPreference: socket.loop.taskExecutor) {
        try await socket.sendMessage(answer)
      }.value
    }
  }
}
