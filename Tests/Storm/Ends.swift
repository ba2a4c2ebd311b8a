// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Synchronization

/// Two connected sockets, each of which can be taken once: its task is then the only holder, and
/// drops the socket by returning.
final class Ends<Socket: UnixSocket>: Sendable {
  private let sockets: Mutex<(sender: Socket?, receiver: Socket?)>

  init(_ pair: (Socket, Socket)) { sockets = Mutex((pair.0, pair.1)) }

  func takeSender() -> Socket { sockets.withLock { $0.sender.take()! } }
  func takeReceiver() -> Socket { sockets.withLock { $0.receiver.take()! } }

  func setSendBufferSize(_ size: Int) async {
    guard let socket = sockets.withLock({ $0.sender }) else { return }
    try? await socket.setOption(.sendBufferSize, to: size)
  }
}
