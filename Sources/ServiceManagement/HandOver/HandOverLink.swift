// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets
internal import SocketEngine

/// The connection between a process and its successor, with a time limit for each message.
struct HandOverLink: Sendable {
  let socket: UnixSeqpacket

  /// A received message with its descriptors.
  struct Arrival {
    var message: HandOverMessage
    var received: ReceivedMessage
  }

  /// Sends a message.
  ///
  /// - Throws: ``ServiceError``: `peerEnded`; `timedOut`, in which case the connection is closed.
  ///   `CancellationError`. ``SocketError`` for all other failures.
  func send(_ message: HandOverMessage, descriptors: Span<OwnedFd> = Span(), within limit: Duration)
    async throws
  {
    // A span cannot be passed to the task that a deadline needs, so a task that closes the socket
    // ends a send that takes too long.
    let guardian = Task(executorPreference: socket.loop.taskExecutor) { [socket] in
      try await socket.loop.sleep(for: limit)
      await socket.close()
    }
    defer { guardian.cancel() }
    do {
      try await socket.sendMessage(message.encoded, descriptors: descriptors)
    } catch let error as SocketError {
      switch error.code {
      case .peerClosed, .connectionReset: throw await endReason()
      case .closed:
        throw ServiceError(
          .timedOut, "the other side has not taken the message \(message.name) within \(limit)")
      default: throw error
      }
    }
  }

  /// Returns why the other side has closed the connection. It may have sent a refusal, after
  /// messages that were not asked for.
  private func endReason() async -> any Error {
    for _ in 0..<4 {
      do {
        _ = try await next(within: .zero, for: "end")
      } catch {
        return (error as? ServiceError)?.code == .timedOut ? Self.ended : error
      }
    }
    return Self.ended
  }

  /// Receives the next message.
  ///
  /// - Throws: ``ServiceError``: `peerEnded`, `timedOut`, `malformedMessage`, or the meaning of a
  ///   refusal. `CancellationError`. ``SocketError`` for all other failures.
  func next(within limit: Duration, for purpose: String) async throws -> Arrival {
    let received: ReceivedMessage
    do {
      guard let message = try await socket.receiveMessage(deadline: .now + limit) else {
        throw Self.ended
      }
      received = message
    } catch let error as SocketError {
      switch error.code {
      // The reset comes after all messages that were received before it.
      case .connectionReset: throw Self.ended
      case .deadlineExceeded: throw ServiceError(.timedOut, "no \(purpose) within \(limit)")
      case .messageIncomplete where error.outcome?.isPayloadTruncated == true:
        throw HandOverMessage.malformed("it is too long")
      case .messageIncomplete:
        throw ServiceError(
          .limitExceeded, "descriptors of a message did not arrive: \(error.outcome ?? .complete)")
      default: throw error
      }
    }
    guard !received.outcome.isPayloadTruncated else {
      throw HandOverMessage.malformed("it is too long")
    }
    let message = try HandOverMessage(decoding: received.payload)
    if case .refusal(let reason, let text) = message { throw reason.error(text) }
    guard case .batch(_, let entries) = message else {
      guard received.descriptorCount == 0, received.outcome.surplus == 0 else {
        throw HandOverMessage.malformed("descriptors with \(message.name)")
      }
      return Arrival(message: message, received: received)
    }
    guard received.descriptorCount == entries.count else {
      throw ServiceError(
        received.outcome == .complete ? .malformedMessage : .limitExceeded,
        "\(received.descriptorCount) of \(entries.count) descriptors of a batch have arrived: \(received.outcome)"
      )
    }
    return Arrival(message: message, received: received)
  }

  /// Tells the other side why the hand-over is given up, if there is room for the message now or
  /// within the limit. Works even in a cancelled task.
  ///
  /// - Returns: Why the message could not be sent, as ``send(_:descriptors:within:)`` throws it, if
  ///   there is a limit.
  @discardableResult
  func refuse(_ reason: HandOverRefusal, _ text: String, within limit: Duration? = nil) async
    -> (any Error)?
  {
    let message = HandOverMessage.refusal(reason, text)
    let telling = Task(executorPreference: socket.loop.taskExecutor) {
      if let limit { return try await send(message, within: limit) }
      try await socket.sendMessage(message.encoded, options: .doNotWait)
    }
    if case .failure(let error) = await telling.result { return error }
    return nil
  }

  static var ended: ServiceError {
    ServiceError(.peerEnded, "the other side has closed the connection, or has ended")
  }
}

extension ServiceError {
  /// Whether the other side has sent a refusal, and not just gone silent.
  var isRefusal: Bool {
    [.handOverUnderWay, .wrongVersion, .predecessorEnds, .refused].contains(code)
  }
}

extension HandOverRefusal {
  func error(_ text: String) -> ServiceError {
    switch self {
    case .busy: ServiceError(.handOverUnderWay, text)
    case .version: ServiceError(.wrongVersion, text)
    case .ending: ServiceError(.predecessorEnds, text)
    default: ServiceError(.refused, text)
    }
  }

  /// The reason to give to the other side for an error on this side.
  init(_ error: any Error) {
    switch (error as? ServiceError)?.code {
    case .some(.malformedMessage), .some(.invalidName): self = .malformed
    case .some(.timedOut): self = .timedOut
    case .some(.wrongVersion): self = .version
    case .some(.handOverUnderWay): self = .busy
    default: self = error is CancellationError ? .ending : .other
    }
  }
}
