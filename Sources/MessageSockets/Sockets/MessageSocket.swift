public import SocketEngine

/// A socket that sends and receives messages with descriptors and other control data.
///
/// ``UnixStream`` and ``UnixSeqpacket`` are such sockets; a type of your own becomes one by being an actor that holds a channel and runs on
/// its loop:
/// ```swift
/// actor MySocket: MessageSocket {
///   nonisolated let channel: SocketChannel
///   nonisolated var unownedExecutor: UnownedSerialExecutor { channel.unownedExecutor }
/// }
/// ```
/// All methods may be called from anywhere. In a task that prefers the socket's loop (``IOLoop/run(_:)``) they never leave its thread;
/// elsewhere a call costs one hop to the loop and one back.
public protocol MessageSocket: Actor {
  /// The open socket on its loop.
  nonisolated var channel: SocketChannel { get }
}

extension MessageSocket {
  /// The loop that the socket lives on.
  public nonisolated var loop: IOLoop { channel.loop }
}
