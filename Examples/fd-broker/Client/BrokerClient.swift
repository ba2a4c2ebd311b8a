// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// A connection to a broker, in terms of requests and replies.
struct BrokerClient: Sendable {
  let socket: UnixSeqpacket

  func send(_ request: Request) async throws { try await socket.sendMessage(request.encoded) }

  /// The next message.
  func receive() async throws -> ReceivedMessage {
    guard let message = try await socket.receiveMessage() else {
      throw Failure("the broker ended the connection")
    }
    return message
  }
}
