// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// Admits one TCP listener a message; the library closes all else, and throws.
let policy = {
  var policy = ReceivePolicy(
    maximumDescriptorsPerMessage: 1,
    allowed: [.socket(family: .internetV4, kind: .stream)])
  policy.onSurplus = .throwError
  return policy
}()

func pass(_ listener: borrowing OwnedFd, to peer: UnixStream) async throws {
  try await peer.sendMessage(Array("L".utf8), descriptor: listener)
}

/// Returns nil at the end. A receive that is cancelled, or too late, leaves the message in the
/// socket.
func receive(from peer: UnixStream) async throws -> TCPListener? {
  guard let message = try await peer.receiveMessage(deadline: .now + .seconds(5)) else {
    return nil
  }
  guard let listener = message.takeDescriptor() else { throw NoListener() }
  return try TCPListener(adopting: listener)
}

struct NoListener: Error {}

func serve(_ peer: UnixStream) async throws -> Bool {
  guard let listener = try await receive(from: peer) else { return false }
  let deadline: Deadline = .now + .seconds(5)
  let client = try await peer.loop.withDeadline(deadline) { try await listener.accept() }
  try await client.sendMessage(Array("hello\n".utf8))
  await client.close()
  await listener.close()
  return true
}
