// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets

/// A socket of a kind that the package does not know: routing netlink (rtnetlink(7)). All of its
/// methods are default implementations.
actor NetlinkSocket: MessageSocket {
  nonisolated let channel: SocketChannel
  nonisolated var unownedExecutor: UnownedSerialExecutor { channel.unownedExecutor }

  /// `NETLINK_ROUTE`.
  private static let route: Int32 = 0

  init(on loop: IOLoop? = nil) throws {
    let number = socket(
      AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), Self.route)
    guard number >= 0 else { throw Errno(rawValue: errno) }
    let loop = try loop ?? .currentOrShared()
    channel = SocketChannel(
      adopting: OwnedFd(adopting: FileDescriptor(rawValue: number)), kind: .datagram, loop: loop)
  }
}
