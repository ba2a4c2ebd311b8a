// SPDX-License-Identifier: Apache-2.0
internal import SocketEngine

/// A socket that sends and receives messages with control data.
///
/// The sockets of this package are such sockets: ``UnixStream``, ``UnixSeqpacket`` and
/// ``UnixDatagram``, which also carry descriptors (``UnixSocket``), ``TCPStream`` and
/// ``UDPSocket``. A type of your own (netlink, vsock, raw IP) becomes one by being an actor that
/// holds a channel and runs on its loop:
/// ```swift
/// actor NetlinkSocket: MessageSocket {
///   nonisolated let channel: SocketChannel
///   nonisolated var unownedExecutor: UnownedSerialExecutor { channel.unownedExecutor }
///
///   init() throws {
///     let number = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)  // NETLINK_ROUTE
///     …
///     channel = SocketChannel(adopting: OwnedFd(adopting: FileDescriptor(rawValue: number)), kind: .datagram, loop: try .currentOrShared())
///   }
/// }
/// ```
/// All methods may be called from anywhere. In a task that prefers the socket's loop
/// (``IOLoop/run(_:)``) they never leave its thread; elsewhere a call costs one hop to the loop and
/// one back.
public protocol MessageSocket: LoopSocket {}
