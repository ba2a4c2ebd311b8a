// SPDX-License-Identifier: Apache-2.0
package import SystemPackage

extension SocketError {
  /// The cause of a ``SocketError``.
  public struct Code: Hashable, Sendable {
    private enum Name: String {
      case addressInUse, badDescriptor, cannotPassRing, closed, connectionRefused, connectionReset,
        deadlineExceeded
      case emptyPayload, invalidConfiguration, ioUringUnavailable, loopFailed, loopShutDown,
        messageTooLarge, notFound, notPermitted,
        outOfDescriptors
      case outOfMemory, outOfThreads, partialSend, peerClosed, system, tooManyDescriptors,
        tooManyInFlight, notConnected, wrongSocketKind
      case addressNotAvailable, hostUnreachable, messageIncomplete, messagesUnread, noRoom,
        notSupported, policyViolated, timedOut,
        wouldBlock
    }

    private let name: Name

    /// Another socket is bound to the address, or what stands at the path may not be replaced:
    /// ``SocketError/detail`` says what it is. (The file of a dead socket is replaced, unless that
    /// was turned off.) `EADDRINUSE`.
    public static var addressInUse: Code { Code(name: .addressInUse) }
    /// The address is none of this machine's, `EADDRNOTAVAIL`; or nothing can be sent to it, as to
    /// an unnamed socket.
    public static var addressNotAvailable: Code { Code(name: .addressNotAvailable) }
    /// A descriptor to be sent is not open; nothing was sent. `EBADF`.
    public static var badDescriptor: Code { Code(name: .badDescriptor) }
    /// An io_uring descriptor cannot be sent (Linux 6.7 refuses it: the reference cycle could not
    /// be broken). `EINVAL`.
    public static var cannotPassRing: Code { Code(name: .cannotPassRing) }
    /// The socket was closed on this side.
    public static var closed: Code { Code(name: .closed) }
    /// No socket listens at the address. `ECONNREFUSED`.
    public static var connectionRefused: Code { Code(name: .connectionRefused) }
    /// The peer closed its socket before it had read all data from this side. `ECONNRESET`.
    public static var connectionReset: Code { Code(name: .connectionReset) }
    /// The deadline passed first; nothing was lost.
    public static var deadlineExceeded: Code { Code(name: .deadlineExceeded) }
    /// On a stream, descriptors need at least one byte of payload: Linux would report success and
    /// drop them. Over vsock, every message does.
    public static var emptyPayload: Code { Code(name: .emptyPayload) }
    /// No route leads to the host or its network. `EHOSTUNREACH`, `ENETUNREACH`.
    public static var hostUnreachable: Code { Code(name: .hostUnreachable) }
    /// A limit of the configuration is out of its range.
    public static var invalidConfiguration: Code { Code(name: .invalidConfiguration) }
    /// The system refuses io_uring, and the configuration permits no other driver. The description
    /// names the reason.
    public static var ioUringUnavailable: Code { Code(name: .ioUringUnavailable) }
    /// The kernel has begun to refuse the loop's own system call (io_uring_enter(2) or
    /// epoll_pwait2(2)) after the loop was started, mostly with `EPERM` or `ENOSYS` because of a
    /// new seccomp filter. All operations of the loop have ended. Its sockets can be closed, and
    /// messages received ahead can still be received. A new loop chooses its driver by what is
    /// allowed now. The shared group (``IOLoopGroup/shared()``) is not replaced. If the kernel
    /// refuses `io_uring_register` as well, sockets with pending operations stay open in the kernel
    /// until the loop's thread ends, which happens when the last reference to the loop is gone.
    /// Before Linux 6.1 the process ends instead, because the kernel would keep the loop's memory
    /// in use.
    public static var loopFailed: Code { Code(name: .loopFailed) }
    /// The loop was shut down.
    public static var loopShutDown: Code { Code(name: .loopShutDown) }
    /// A message has arrived, and something of it is missing: the end of its payload, because it
    /// was longer than the buffer (`MSG_TRUNC`), or control data, as descriptors for which this
    /// process had no number left (`MSG_CTRUNC`). ``SocketError/outcome`` says what, and the error
    /// has the message as far as it arrived: `SocketError.message`, whose descriptors close with it
    /// unless they are taken. Nothing else is lost: the next receive has the next message. A
    /// ``ReceivePolicy`` can have such messages returned instead (``ReceivePolicy/reportingLoss``).
    public static var messageIncomplete: Code { Code(name: .messageIncomplete) }
    /// The message is larger than the socket's send buffer (datagram and seqpacket). `EMSGSIZE`.
    public static var messageTooLarge: Code { Code(name: .messageTooLarge) }
    /// The socket cannot be given away yet: messages that were received ahead have not been asked
    /// for. Receive them first.
    public static var messagesUnread: Code { Code(name: .messagesUnread) }
    /// Nothing exists at the path. `ENOENT`.
    public static var notFound: Code { Code(name: .notFound) }
    /// The socket is not connected. `ENOTCONN`.
    public static var notConnected: Code { Code(name: .notConnected) }
    /// The memory to receive into has no room for a byte. No system call was made.
    public static var noRoom: Code { Code(name: .noRoom) }
    /// Not allowed: file permissions, forged credentials, a peer that refuses descriptors, a
    /// security module. `EACCES`, `EPERM`.
    public static var notPermitted: Code { Code(name: .notPermitted) }
    /// This kind of socket, or this kernel, does not have the option or operation. `EOPNOTSUPP`,
    /// `ENOPROTOOPT`, `EAFNOSUPPORT`, `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`.
    public static var notSupported: Code { Code(name: .notSupported) }
    /// This process (`EMFILE`) or the system (`ENFILE`) has no descriptor left.
    public static var outOfDescriptors: Code { Code(name: .outOfDescriptors) }
    /// `ENOMEM`, `ENOBUFS`.
    public static var outOfMemory: Code { Code(name: .outOfMemory) }
    /// No thread can be started: this user or the system has as many as it may have
    /// (`RLIMIT_NPROC`, the pids controller). `EAGAIN`.
    public static var outOfThreads: Code { Code(name: .outOfThreads) }
    /// A stream send ended after some of its bytes, and with all of its descriptors:
    /// ``SocketError/bytesSent``. It was stopped; or it was asked not to wait, and no more had room
    /// (`EAGAIN`). The stream's framing is broken unless the rest is sent.
    public static var partialSend: Code { Code(name: .partialSend) }
    /// The peer has closed the connection or shut down its receiving side. `EPIPE`.
    public static var peerClosed: Code { Code(name: .peerClosed) }
    /// A message was dropped that the socket's ``ReceivePolicy`` does not admit:
    /// ``SocketError/outcome``. Or too many descriptors of this peer could not be closed yet.
    public static var policyViolated: Code { Code(name: .policyViolated) }
    /// Any other error of the system: ``SocketError/errno``.
    public static var system: Code { Code(name: .system) }
    /// The peer did not answer in time (TCP). `ETIMEDOUT`. A deadline of yours is
    /// ``deadlineExceeded``.
    public static var timedOut: Code { Code(name: .timedOut) }
    /// More than 253 descriptors in one message (`SCM_MAX_FD`), those in control messages of the
    /// caller's own included; nothing was sent.
    public static var tooManyDescriptors: Code { Code(name: .tooManyDescriptors) }
    /// This user has too many descriptors in messages that have not been received yet. Try again
    /// when some of them were received. `ETOOMANYREFS`.
    public static var tooManyInFlight: Code { Code(name: .tooManyInFlight) }
    /// The call was asked not to wait, but would have had to wait. Nothing was sent or received.
    /// `EAGAIN`.
    public static var wouldBlock: Code { Code(name: .wouldBlock) }
    /// The descriptor is not a socket of the kind that was asked for. `ENOTSOCK`, `EPROTOTYPE`.
    public static var wrongSocketKind: Code { Code(name: .wrongSocketKind) }
  }
}

extension SocketError.Code {
  /// The code for an errno, in the order of errno.h.
  package init(_ errno: Errno) {
    switch errno {
    case .notPermitted, .permissionDenied: self = .notPermitted
    case .noSuchFileOrDirectory: self = .notFound
    case .badFileDescriptor: self = .badDescriptor
    case .noMemory, .noBufferSpace: self = .outOfMemory
    case .tooManyOpenFilesInSystem, .tooManyOpenFiles: self = .outOfDescriptors
    case .brokenPipe: self = .peerClosed
    case .messageTooLong: self = .messageTooLarge
    case .addressInUse: self = .addressInUse
    case .connectionReset: self = .connectionReset
    case .socketNotConnected: self = .notConnected
    case .tooManyReferences: self = .tooManyInFlight
    case .connectionRefused: self = .connectionRefused
    case .protocolWrongTypeForSocket, .notSocket: self = .wrongSocketKind
    case .addressNotAvailable: self = .addressNotAvailable
    case .networkUnreachable, .noRouteToHost: self = .hostUnreachable
    case .timedOut: self = .timedOut
    case .wouldBlock: self = .wouldBlock
    case .notSupported, .protocolNotAvailable, .addressFamilyNotSupported, .protocolNotSupported,
      .socketTypeNotSupported:
      self = .notSupported
    default: self = .system
    }
  }

  /// An explanation of the error, with a remedy where there is one.
  var explanation: String {
    switch name {
    case .addressNotAvailable: "the address cannot be used"
    case .addressInUse: "the address is in use"
    case .badDescriptor: "a descriptor is not open; nothing was sent"
    case .cannotPassRing: "an io_uring descriptor cannot be sent"
    case .closed: "the socket is closed"
    case .connectionRefused:
      "no process listens there; is the server running, and of this kind of socket?"
    case .connectionReset: "the peer closed the connection with data unread"
    case .deadlineExceeded: "the deadline passed"
    case .emptyPayload: "what is sent needs at least one byte of payload"
    case .hostUnreachable: "there is no route to the address"
    case .invalidConfiguration: "the configuration is out of range"
    case .ioUringUnavailable: "io_uring cannot be used here"
    case .loopFailed:
      """
      the kernel refuses the loop's system call since it was started; set seccomp filters before the \
      first loop, or allow io_uring_enter or epoll_pwait2
      """
    case .loopShutDown: "the loop was shut down"
    case .messageTooLarge: "the message is larger than the send buffer; raise SO_SNDBUF or split it"
    case .messageIncomplete: "a part of the message is missing"
    case .messagesUnread: "messages have been received ahead; receive them first"
    case .noRoom: "the memory to receive into is full; empty the span first (removeAll())"
    case .notFound: "no such file or directory"
    case .notConnected: "the socket is not connected"
    case .notPermitted:
      """
      not permitted; look at the permissions of the socket file and its directory, or at the \
      privilege that the call needs
      """
    case .notSupported:
      """
      this kind of socket, or this kernel, does not support that; see Docs/KERNELS.md for what needs \
      which version
      """
    case .outOfDescriptors: "no descriptor is free; raise RLIMIT_NOFILE or close some"
    case .outOfMemory: "out of memory"
    case .outOfThreads:
      "no thread can be started; raise RLIMIT_NPROC, or the limit of processes of the control group"
    case .partialSend: "only a part of the bytes was sent"
    case .peerClosed: "the peer has closed the connection"
    case .policyViolated: "the receive policy does not admit the message"
    case .system: "the system call failed"
    case .timedOut: "the peer did not answer in time"
    case .tooManyDescriptors: "more descriptors than one message may carry"
    case .tooManyInFlight:
      "too many descriptors of this user are in messages that were not received yet"
    case .wouldBlock: "the call would have to wait"
    case .wrongSocketKind: "the socket is of another kind"
    }
  }
}

extension SocketError.Code: CustomStringConvertible {
  public var description: String { name.rawValue }
}
