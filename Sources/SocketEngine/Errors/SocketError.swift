// SPDX-License-Identifier: Apache-2.0
public import Ancillary
public import SystemPackage

/// Why an operation of a socket, a listener or a loop failed.
///
/// A cancelled task gets a `CancellationError` instead, with one exception: a stream send that was
/// cancelled after some of its bytes were sent throws ``Code/partialSend``.
///
/// Compare ``code``; more codes may be added, so keep a `default` in every `switch`.
public struct SocketError: Error, Sendable {
  /// The cause, as a program distinguishes it.
  public let code: Code
  /// The error number of the system call or of the io_uring completion, if one was made.
  public package(set) var errno: Errno?
  /// The operation that failed.
  public let operation: Operation
  /// The address in question, for binding, connecting, and sending to an address.
  public let address: AnySocketAddress?
  /// The number of bytes that a stream send had sent. It is greater than zero for
  /// ``Code/partialSend``, and when the connection ended half-way (``Code/peerClosed``,
  /// ``Code/connectionReset``). The descriptors and control messages of a send travel with its
  /// first byte.
  public let bytesSent: Int
  /// More about the cause, where the code leaves something open: counts, limits, indices.
  public let detail: String?

  /// For ``Code/messageIncomplete``, what is missing; for ``Code/policyViolated``, what was wrong
  /// with the message, whose descriptors are closed.
  public let outcome: DeliveryStatus?

  /// For ``Code/messageIncomplete``: the part of the message that arrived. Another module declares
  /// its type.
  package var delivered: (any AnyObject & Sendable)?

  /// The socket, where an open one was used: what it is bound and connected to. Nil for errors of
  /// making one, of a closed one, and for ``Code/wouldBlock`` and ``Code/deadlineExceeded``.
  public package(set) var socket: SocketIdentity?

  package init(
    _ code: Code, _ operation: Operation, errno: Errno? = nil, address: AnySocketAddress? = nil,
    bytesSent: Int = 0,
    detail: String? = nil, outcome: DeliveryStatus? = nil
  ) {
    self.code = code
    self.errno = errno
    self.operation = operation
    self.address = address
    self.bytesSent = bytesSent
    self.detail = detail
    self.outcome = outcome
  }
}

extension SocketError {
  /// An operation that can fail.
  public enum Operation: String, Sendable {
    case startLoop = "start the loop"
    case createSocket = "create a socket"
    case bind, listen, connect, accept, send, receive, shutdown
    case close, sleep, wait
    case configure = "set a socket option"
    case query = "read a socket option"
    case adopt = "adopt a descriptor"
    case release = "release a socket"
    case duplicate = "duplicate a socket"
  }
}

extension SocketError: CustomStringConvertible {
  /// A text for logs, on one line, whatever a peer has called itself:
  /// `connect /run/app.sock: no process listens there …`.
  public var description: String {
    var text = "\(operation.rawValue)"
    if let address { text += " \(address)" }
    text += ": \(code.explanation)"
    if let detail { text += " (\(detail))" }
    if let socket { text += " on a \(socket)" }
    if let errno { text += " [\(errno)]" }
    return text.visible
  }
}

extension OwnedFd {
  /// Adopts the descriptor that a system call returned, or throws the error that it returned
  /// instead.
  package init(adoptingResult result: Int32, operation: SocketError.Operation) throws(SocketError) {
    guard result >= 0 else { throw SocketError(result: result, operation) }
    self.init(adopting: FileDescriptor(rawValue: result))
  }
}

extension SocketError {
  /// The error for a negative result of a system call.
  package init(
    result: Int32, _ operation: Operation, address: AnySocketAddress? = nil, detail: String? = nil
  ) {
    let errno = Errno(rawValue: -result)
    self.init(Code(errno), operation, errno: errno, address: address, detail: detail)
  }
}
