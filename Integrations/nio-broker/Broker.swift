// SPDX-License-Identifier: Apache-2.0
import MessageSocketsNIO

/// Accepts connections, looks at their peers, and passes those that are admitted to the worker.
struct Broker {
  let listener: TCPListener
  let worker: UnixSeqpacket

  /// Ends when its task is cancelled.
  func run() async throws {
    for try await connection in listener.connections {
      guard await isAdmitted(connection) else {
        await connection.close()
        continue
      }
      let descriptor = try await connection.release()
      try await worker.sendMessage(Array("connection".utf8), descriptor: descriptor)
      // Here `descriptor` ends, and closes: the worker's is the only one that is left.
    }
  }

  private func isAdmitted(_ connection: TCPStream) async -> Bool {
    guard let peer = try? await connection.peerAddress()?.internet else { return false }
    return peer.host == .v4(.loopback)
  }
}
