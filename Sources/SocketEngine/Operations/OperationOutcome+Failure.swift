internal import Ancillary
internal import SystemPackage

extension OperationOutcome {
  /// What to throw, if the operation failed or its message is not admitted.
  borrowing func failure(_ operation: SocketError.Operation, address: AnySocketAddress? = nil) -> (any Error)? {
    result.failure(operation, address: address) ?? judgement?.error
  }
}

extension OperationResult {
  /// What to throw, if the operation failed.
  func failure(
    _ operation: SocketError.Operation, address: AnySocketAddress? = nil, hadDescriptors: Bool = false
  ) -> (any Error)? {
    guard let errno else { return nil }
    if errno == .canceled, let stopReason { return stopped(stopReason, operation) }
    // With descriptors, and lengths and flags that we have checked, EINVAL has one cause left.
    let code = hadDescriptors && errno == .invalidArgument ? SocketError.Code.cannotPassRing : SocketError.Code(errno)
    return SocketError(code, operation, errno: errno, address: address, bytesSent: byteCount)
  }

  private func stopped(_ reason: StopReason, _ operation: SocketError.Operation) -> any Error {
    if byteCount > 0 {
      return SocketError(.partialSend, operation, bytesSent: byteCount, detail: "stopped after \(byteCount) bytes")
    }
    return switch reason {
    case .taskCancelled: CancellationError()
    case .deadline: SocketError(.deadlineExceeded, operation)
    case .socketClosed: SocketError(.closed, operation)
    case .loopShutdown: SocketError(.loopShutDown, operation)
    case .windowFull, .bytesPutBack, .receivingEnded: preconditionFailure("These ends of receives are no failures")
    }
  }
}
