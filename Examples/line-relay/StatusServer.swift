// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import ServiceLifecycle

/// Tells each client how many lines have been received.
struct StatusServer: Service {
  let listener: UnixListener<UnixSeqpacket>
  let tally: Tally

  /// When the program is asked to stop, the server accepts no more connections; a question that has
  /// arrived is answered. It does not wait for idle clients: their sequences end.
  func run() async throws {
    try await cancelWhenGracefulShutdown {
      try await listener.serve(
        ServeLimits(maximumConnections: 64, gracePeriod: .seconds(30)),
        onError: { Console.note("a client: \($0)") }
      ) {
        client in
        for try await _ in client.messages.cancelOnGracefulShutdown() {
          try await client.sendMessage(Array("\(tally.lines)".utf8))
        }
      }
    }
  }
}
