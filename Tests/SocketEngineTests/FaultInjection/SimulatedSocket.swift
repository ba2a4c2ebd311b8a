// SPDX-License-Identifier: Apache-2.0
@testable import SocketEngine

/// A socket of the simulated kernel. Its number is a descriptor of a real socket that transfers
/// nothing, so closing and shutdown(2) are real.
struct SimulatedSocket {
  let number: Int32
  let inode: UInt64
  let kind: SocketKind
  /// The directions of its pair, with the numbers that the ledger and the kernel use.
  let incoming: Int
  let outgoing: Int
  /// The number of connections that wait to be accepted.
  var connections = 0
  /// Whether shutdown(2) was called on this socket for receiving.
  var isShutDownForReceiving = false

  /// Whether a receive that finds nothing is at the end: connections end, datagram sockets do not.
  func isAtEnd(of queue: SimulatedQueue) -> Bool { queue.isClosed && kind != .datagram }
}
