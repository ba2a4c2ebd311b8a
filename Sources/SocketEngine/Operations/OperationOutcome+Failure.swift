// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import SystemPackage

extension OperationOutcome {
  /// What to throw, if the operation, which was asked to stop for `stopReason`, failed or its
  /// message is not admitted.
  borrowing func failure(
    _ operation: SocketError.Operation, address: AnySocketAddress?, stopReason: StopReason?
  ) -> (any Error)? {
    var result = result
    result.stopReason = stopReason
    return result.failure(operation, address: address) ?? judgement?.error
  }
}

extension OperationResult {
  /// What to throw, if the operation failed.
  ///
  /// - Parameter hadRing: A descriptor to be sent was an io_uring.
  func failure(
    _ operation: SocketError.Operation, address: AnySocketAddress? = nil, hadRing: Bool = false
  ) -> (any Error)? {
    guard let errno else { return nil }
    if errno == .canceled, let stopReason { return stopped(stopReason, operation) }
    let code: SocketError.Code =
      switch errno {
      case .invalidArgument where hadRing: .cannotPassRing
      // The send was asked not to wait, and a part had room.
      case .wouldBlock where byteCount > 0: .partialSend
      default: SocketError.Code(errno)
      }
    return SocketError(code, operation, errno: errno, address: address, bytesSent: byteCount)
  }

  private func stopped(_ reason: StopReason, _ operation: SocketError.Operation) -> any Error {
    if byteCount > 0 {
      return SocketError(
        .partialSend, operation, bytesSent: byteCount, detail: "stopped after \(byteCount) bytes")
    }
    return switch reason {
    case .taskCancelled: CancellationError()
    case .deadline: SocketError(.deadlineExceeded, operation)
    case .socketClosed: SocketError(.closed, operation)
    case .loopShutdown: SocketError(.loopShutDown, operation)
    case .loopFailed: SocketError(.loopFailed, operation)
    case .windowFull, .bytesPutBack, .receivingEnded:
      preconditionFailure("These ends of receives are no failures")
    }
  }
}
