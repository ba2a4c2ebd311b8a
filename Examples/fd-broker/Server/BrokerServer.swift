// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// Answers the requests of all clients until its task is cancelled.
final class BrokerServer: Sendable {
  private let listener: UnixListener<UnixSeqpacket>
  private let directory: ServedDirectory
  /// Yields an element when a connection has ended and its descriptor is free again. One pending
  /// element suffices.
  private let ends: AsyncStream<Void>
  private let ended: AsyncStream<Void>.Continuation

  init(listener: UnixListener<UnixSeqpacket>, directory: consuming ServedDirectory) {
    self.listener = listener
    self.directory = directory
    (ends, ended) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  /// Serves each connection in a child task. Cancellation reaches all of them: a reply in progress
  /// is sent completely or not at all, and every connection is closed before this returns.
  func run() async throws {
    try await withThrowingDiscardingTaskGroup { group in
      while !Task.isCancelled {
        do {
          for try await connection in listener.connections {
            group.addTask { await self.serve(connection) }
          }
          return
        } catch let error as SocketError where error.code == .outOfDescriptors {
          // No client is turned away: further clients wait in the kernel until one has left.
          Console.note("clients have to wait: \(error)")
          for await _ in ends { break }
        }
      }
    }
  }

  private func serve(_ connection: UnixSeqpacket) async {
    do {
      // A request that is too long gets an answer and is no error.
      for try await message in connection.messages(policy: .reportingLoss) {
        try await answer(message, on: connection)
      }
    } catch is CancellationError {
      // The broker stops.
    } catch {
      // A client that disappears is not the broker's fault.
      Console.note("a connection ended: \(error)")
    }
    await connection.close()
    ended.yield()
  }

  /// Descriptors from a client close with its message, because the broker does not take them.
  private func answer(_ message: ReceivedMessage, on connection: UnixSeqpacket) async throws {
    guard let request = Request(decoding: message.payload), !message.outcome.isPayloadTruncated
    else {
      let unknown = Request(number: 0, name: "?")
      return try await connection.sendMessage(
        Reply(status: .malformedRequest, request: unknown).encoded)
    }
    do {
      // Opening a local file takes microseconds, so it may run on the loop's thread. A slow file
      // system would require a separate thread.
      let file = try directory.open(request.name)
      try await connection.sendMessage(
        Reply(status: .opened, request: request).encoded, descriptor: file)
    } catch let refusal as Status {
      try await connection.sendMessage(Reply(status: refusal, request: request).encoded)
    }
  }
}
