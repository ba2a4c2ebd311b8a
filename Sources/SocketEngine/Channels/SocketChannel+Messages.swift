package import Ancillary
internal import CMessageSockets
package import SystemPackage

// What a socket does with messages. All of it runs on the loop's thread, in the caller's isolation.

extension SocketChannel {
  /// Sends one message: all of it, or an error that says how much of it went out. The caller keeps payload and descriptors as they
  /// are until this returns.
  package func send(
    _ payload: RawSpan, numbers: Span<FileDescriptor>, control: ControlMessageBuffer, flags: Int32,
    isolation: isolated (any Actor)? = #isolation
  ) async throws {
    if kind == .stream, payload.byteCount == 0 {
      guard numbers.isEmpty, control.isEmpty else { throw SocketError(.emptyPayload, .send) }
      // Nothing to send: sendmsg(2) would do nothing and say 0.
      return try Task.checkCancellation()
    }
    if numbers.count > ControlMessages.maximumDescriptors {
      throw SocketError(
        .tooManyDescriptors, .send, detail: "\(numbers.count) of at most \(ControlMessages.maximumDescriptors)")
    }
    let operation = try makeOperation(.send(flags: flags | cms_msg_nosignal), .send)
    do {
      try operation.prepareSend(payload, numbers: numbers, control: control)
    } catch {
      operation.discard()
      throw error
    }
    start(operation)
    let outcome = await loop.outcome(of: operation)
    if let error = outcome.failure(.send, hadDescriptors: !numbers.isEmpty) { throw error }
  }

  /// Receives one message into memory that the engine lends; the payload is copied out.
  package func receive(
    flags: Int32, isolation: isolated (any Actor)? = #isolation
  ) async throws -> OperationOutcome {
    let operation = try makeOperation(.receive(flags: flags | cms_msg_cmsg_cloexec), .receive)
    unsafe operation.prepareReceive(into: nil)
    start(operation)
    let outcome = await loop.outcome(of: operation)
    if let error = outcome.failure(.receive) { throw error }
    return outcome
  }

  /// Accepts one connection.
  package func accept(isolation: isolated (any Actor)? = #isolation) async throws -> OwnedFd {
    let operation = try makeOperation(.accept, .accept)
    start(operation)
    var outcome = await loop.outcome(of: operation)
    if let error = outcome.failure(.accept) { throw error }
    return outcome.accepted.take()!
  }

  /// Connects to an address.
  package func connect(to address: UnixAddress, isolation: isolated (any Actor)? = #isolation) async throws {
    let operation = try makeOperation(.connect(nameLength: UInt32(address.encodedByteCount)), .connect)
    address.withSocketAddressBytes { operation.prepareConnect($0) }
    start(operation)
    let outcome = await loop.outcome(of: operation)
    if let error = outcome.failure(.connect, address: address) { throw error }
  }
}

extension OperationOutcome {
  /// What to throw, if the operation failed.
  borrowing func failure(
    _ operation: SocketError.Operation, address: UnixAddress? = nil, hadDescriptors: Bool = false
  ) -> (any Error)? {
    guard let errno else { return nil }
    if errno == .canceled, let stopReason {
      if byteCount > 0 { return SocketError(.partialSend, operation, bytesSent: byteCount, detail: "stopped after \(byteCount) bytes") }
      return switch stopReason {
      case .taskCancelled: CancellationError()
      case .deadline: SocketError(.deadlineExceeded, operation)
      case .socketClosed: SocketError(.closed, operation)
      case .loopShutdown: SocketError(.loopShutDown, operation)
      }
    }
    // With descriptors, and lengths and flags that we have checked, EINVAL has one cause left.
    let code = hadDescriptors && errno == .invalidArgument ? SocketError.Code.cannotPassRing : SocketError.Code(errno)
    return SocketError(code, operation, errno: errno, address: address, bytesSent: byteCount)
  }
}
