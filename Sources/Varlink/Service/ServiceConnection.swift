// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
internal import MessageFraming
internal import MessageSockets
internal import SocketEngine

/// One connection of a service: handles its calls one by one, and answers each.
final class ServiceConnection: Sendable {
  let channel: FramedChannel<UnixStream>
  var limits: VarlinkLimits { service.limits }

  private let service: VarlinkService
  private let onError: @Sendable (any Error) -> Void
  /// Calls that were received while a call with `more` was handled. They precede those in the
  /// channel.
  private let ahead = TSanVisibleMutex(Deque<Frame>())

  /// Why a reply in a sequence of replies could not be sent.
  private let sendFailure = TSanVisibleMutex<(any Error)?>(nil)

  init(
    _ service: VarlinkService, _ socket: UnixStream,
    onError: @escaping @Sendable (any Error) -> Void
  ) {
    self.service = service
    self.onError = onError
    let limits = service.limits
    channel = FramedChannel(
      socket,
      format: .zeroTerminated(
        maximumSize: limits.messageSize, maximumDescriptors: limits.maximumDescriptorsPerMessage))
  }

  /// Handles calls until the client closes the connection, the server stops, or an error occurs.
  func handleCalls() async throws {
    do { try await handleAll() } catch {
      // The client has left without reading its answers.
      if !error.isEndOfClient { throw error }
    }
  }

  private func handleAll() async throws {
    // Descriptors close even if a handler has kept its call.
    defer { ahead.withLock { $0.removeAll() } }
    while let frame = try await nextCall() {
      let message = try CallMessage(frame.payload)
      let call = VarlinkCall(message, frame, self)
      if !message.wantsMore {
        try await handle(call, message)
      } else if try await !handleWatching(call, message) {
        return
      }
    }
  }

  private func nextCall() async throws -> Frame? {
    if let frame = ahead.withLock({ $0.popFirst() }) { return frame }
    return try await channel.receiveUntilDraining()
  }

  /// Sends a reply in a sequence of replies, unless the last one has been sent already.
  func send(
    _ message: [UInt8], _ descriptors: consuming OwnedFds, unlessFinished call: VarlinkCall
  ) async throws {
    // SAFETY: a byte array has no padding.
    let bytes = unsafe message.span.bytes
    try channel.check(bytes, kind: .message, descriptorCount: descriptors.count)
    try await channel.takeSendTurn()
    defer { channel.giveBackSendTurn() }
    try call.checkUnfinished()
    do {
      try await channel.sendInTurn(bytes, kind: .message, number: 0, descriptors: descriptors.span)
    } catch {
      sendFailure.withLock { $0 = error }
      throw error
    }
  }

  /// Handles a call, and answers it.
  private func handle(_ call: VarlinkCall, _ message: CallMessage) async throws {
    var descriptors = OwnedFds()
    var answer: [UInt8]
    do {
      answer = ReplyMessage.encode(parameters: try await run(call, message), continues: false)
      descriptors = call.finish()
      // SAFETY: a byte array has no padding.
      try channel.check(
        unsafe answer.span.bytes, kind: .message, descriptorCount: descriptors.count)
    } catch {
      // From here on the handler can send nothing; pushed descriptors close.
      _ = call.finish()
      if Task.isCancelled { throw CancellationError() }
      // If a reply in a sequence found the connection broken, report only that error.
      if let failure = sendFailure.withLock({ $0 }) { throw failure }
      answer = ReplyMessage.encode(self.answer(to: error, of: call))
      // The error may contain a method name or parameters of the client's choice, and so be too
      // long.
      if answer.count > limits.messageSize { answer = ReplyMessage.encode(.internalError) }
      descriptors = OwnedFds()
    }
    if !call.isOneway { try await channel.send(answer, descriptors: descriptors.span) }
  }

  private func run(_ call: VarlinkCall, _ message: CallMessage) async throws -> [UInt8] {
    if message.wantsUpgrade { throw VarlinkError.methodNotImplemented(message.method) }
    return try await service.handler(of: message.method)(message.parameters, call)
  }

  /// The error that the client gets for an error of the handler.
  private func answer(to error: any Error, of call: VarlinkCall) -> VarlinkError {
    if let error = error as? VarlinkError { return error }
    onError(error)
    let interface = MethodName(call.method)?.interface ?? "org.varlink.service"
    return VarlinkError("\(interface).InternalError")
  }

  private enum Event: Sendable {
    case handled(Result<Void, any Error>)
    case watched(Result<Watched, any Error>)
  }

  private enum Watched {
    case clientHasGone, windowIsFull
  }

  /// Handles a call that may take long, and cancels the handler when the client has gone.
  ///
  /// - Returns: Whether the client is still there.
  private func handleWatching(_ call: VarlinkCall, _ message: CallMessage) async throws -> Bool {
    try await withThrowingTaskGroup(of: Event.self) { group in
      group.addTask { .handled(await self.result { try await self.handle(call, message) }) }
      group.addTask { .watched(await self.result { try await self.receiveAhead() }) }
      var handled = Result<Void, any Error>.success(())
      var watched: Result<Watched, any Error>?
      for try await event in group {
        switch event {
        case .handled(let result):
          handled = result
          group.cancelAll()
        case .watched(.success(.windowIsFull)): break
        case .watched(.failure(let error)) where error is CancellationError: break
        case .watched(let end):
          watched = end
          group.cancelAll()
        }
      }
      switch watched {
      // Throw the client's error, not the handler's cancellation that it caused.
      case .failure(let error): throw error
      // Nor if the client has gone. A call that was answered nevertheless may be followed by
      // others.
      case .success:
        guard case .success = handled else { return false }
      case nil: try handled.get()
      }
      return true
    }
  }

  /// Receives calls that are handled later, so that the end behind them is noticed. They may exceed
  /// the limits of one message only by the last frame.
  private func receiveAhead() async throws -> Watched {
    // Counts a frame's overhead too.
    func cost(of frame: Frame) -> Int { frame.payload.count + 256 }
    var (bytes, descriptors) = ahead.withLock { ahead in
      (ahead.reduce(0) { $0 + cost(of: $1) }, ahead.reduce(0) { $0 + $1.descriptorCount })
    }
    while bytes <= limits.messageSize, descriptors <= limits.maximumDescriptorsPerMessage {
      guard let frame = try await channel.receive() else { return .clientHasGone }
      bytes += cost(of: frame)
      descriptors += frame.descriptorCount
      ahead.withLock { $0.append(frame) }
    }
    return .windowIsFull
  }

  private func result<R: Sendable>(_ body: () async throws -> R) async -> Result<R, any Error> {
    do { return .success(try await body()) } catch { return .failure(error) }
  }
}

extension Error {
  /// Whether the client has closed the connection and does not read what was sent to it.
  fileprivate var isEndOfClient: Bool {
    let error = (self as? FramingError)?.socketError ?? self as? SocketError
    return error?.code == .peerClosed || error?.code == .connectionReset
  }
}
