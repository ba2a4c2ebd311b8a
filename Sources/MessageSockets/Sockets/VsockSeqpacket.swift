// SPDX-License-Identifier: Apache-2.0
public import SocketEngine

/// A connected vsock socket that keeps message boundaries: each receive returns one send. The C
/// names are `AF_VSOCK`, `SOCK_SEQPACKET`; see vsock(7). Linux 5.14 with a transport that has it
/// (loopback, virtio of some hypervisors); on io_uring Linux 6.0.
///
/// It carries no descriptors and no control messages. A message has at least one byte, and at most
/// as many as the buffer of the receiving end (``SocketOption/vsockBufferSize``, 256 KiB by
/// default). Larger ones throw `messageTooLarge`; before Linux 6.2 `outOfMemory`, and the sending
/// side ends.
///
/// **A send that is stopped ends the sending side.** When the receiver's buffer has room for a part
/// of a message only, the kernel sends that part, and does not say so. A send that is cancelled, or
/// whose deadline passes, after the kernel has begun with it may have left such a part. No other
/// message may follow it: later sends throw `peerClosed`, and the peer finds the end, without the
/// part. Receiving goes on. For the same reason ``SendOptions/doNotWait`` throws `notSupported`.
///
/// On epoll each send is made by a thread of its own, because it may have to wait with its message
/// half sent; that costs some 30 µs.
public actor VsockSeqpacket: VsockConnection {
  public static var kind: SocketKind { .seqpacket }

  public nonisolated let channel: SocketChannel

  public init(channel: SocketChannel) { self.channel = channel }

  public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe channel.unownedExecutor }
}
