// SPDX-License-Identifier: Apache-2.0
@testable import SocketEngine

/// A socket of the simulated kernel. Its number is a real descriptor, of a real socket through
/// which nothing flows, so that closing and shutdown(2) are real.
struct SimulatedSocket {
  let number: Int32
  let inode: UInt64
  let kind: SocketKind
  /// The directions of its pair, as the ledger and the kernel number them.
  let incoming: Int
  let outgoing: Int
  /// Connections that wait to be accepted.
  var connections = 0
  /// By shutdown(2) on this socket.
  var isShutDownForReceiving = false

  /// Whether a receive that finds nothing is told that this is the end: connections end, datagram
  /// sockets do not.
  func isAtEnd(of queue: SimulatedQueue) -> Bool { queue.isClosed && kind != .datagram }
}
