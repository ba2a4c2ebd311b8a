// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets
internal import SocketEngine

/// One connection's requests, in both directions.
/// ```
/// request ─▶ pending ─────────── frame ──▶ peer        one task receives, and each request
///              ▲                                       of the peer has a task that answers
/// reply  ◀── fulfil ◀── receive ◀── frame ── peer
///                          └─▶ handling ─▶ handler ─▶ frame ──▶ peer
/// ```
/// The receiver waits only for frames: neither for handlers nor until the peer reads answers. So
/// two ends that flood each other do not block, and a cancellation or the end is always noticed.
/// The number of unanswered requests is limited, which bounds what a peer can make this end hold.
final class RequestConnection<Socket: UnixConnection>: Sendable {
  typealias Handler = @Sendable (Frame) async throws -> Response

  let channel: FramedChannel<Socket>
  private let limits: RequestLimits
  /// The places for our requests. Each entry of `pending` and `abandoned` holds one.
  private let unanswered: Turn
  /// The places for handlers.
  private let running: Turn
  private let state = TSanVisibleMutex(State())

  private struct State {
    /// Dropped at the end: the handler may refer to its own channel, which would keep itself alive.
    var handler: Handler?
    /// Our requests, by number.
    var nextNumber: UInt64 = 0
    var pending: [UInt64: PendingReply] = [:]
    var abandoned: Set<UInt64> = []
    /// Handler tasks of the peer's requests whose answer has not been begun, by number.
    var handling: [UInt64: Task<Response, any Error>] = [:]
    /// Whether further requests are ignored, because the peer has closed or the socket drains.
    var takesNoRequests = false
    /// Tasks that send answers, or notify the peer of a cancellation.
    var tasks: [UInt64: Task<Void, Never>] = [:]
    var nextTask: UInt64 = 0
    var receiver: Task<Void, any Error>?
    /// Why no further request can be made.
    var failure: (any Error)?
  }

  init(_ socket: Socket, _ limits: RequestLimits, _ handler: @escaping Handler) {
    precondition(limits.concurrentRequests > 0, "At least one request must be handled at a time")
    precondition(limits.unansweredRequests > 0, "At least one request may be unanswered")
    let format = FrameFormat.lengthPrefixed(
      maximumSize: limits.frameSize, maximumDescriptors: limits.descriptorsPerFrame)
    channel = FramedChannel(socket, format: format)
    self.limits = limits
    unanswered = Turn(places: limits.unansweredRequests)
    running = Turn(places: limits.concurrentRequests)
    state.withLock { $0.handler = handler }
  }

  private var executor: any TaskExecutor { channel.socket.loop.taskExecutor }

  // MARK: Our requests

  func request(_ request: Response) async throws -> Frame {
    let descriptors = request.takeDescriptors()
    let reply = PendingReply()
    let number = try await send(request.payload, descriptors, reply)
    do {
      return try await reply.value()
    } catch let error as CancellationError {
      abandon(number)
      throw error
    }
  }

  private func send(
    _ payload: [UInt8], _ descriptors: borrowing OwnedFds, _ reply: PendingReply
  ) async throws -> UInt64 {
    // SAFETY: a byte array has no padding.
    try channel.check(unsafe payload.span.bytes, kind: .request, descriptorCount: descriptors.count)
    let number = try await takeTurn(for: reply)
    defer { channel.giveBackSendTurn() }
    do {
      // SAFETY: as above.
      try await channel.sendInTurn(
        unsafe payload.span.bytes, kind: .request, number: number, descriptors: descriptors.span)
      return number
    } catch {
      // The request was not sent, or the channel has ended.
      if state.withLock({ $0.pending.removeValue(forKey: number) }) != nil { unanswered.giveBack() }
      throw error
    }
  }

  /// Waits until a request may be sent. It first waits for a place among the unanswered requests,
  /// because a request that waits for the peer's answers must not block our own answers.
  private func takeTurn(for reply: PendingReply) async throws -> UInt64 {
    try await unanswered.take()
    do {
      try await channel.takeSendTurn()
      do {
        return try add(reply)
      } catch {
        channel.giveBackSendTurn()
        throw error
      }
    } catch {
      unanswered.giveBack()
      throw error
    }
  }

  private func add(_ reply: PendingReply) throws -> UInt64 {
    try state.withLock { state in
      if let failure = state.failure { throw failure }
      defer { state.nextNumber += 1 }
      state.pending[state.nextNumber] = reply
      return state.nextNumber
    }
  }

  /// Gives up a request: notifies the peer, and arranges that the answer is dropped when it comes.
  private func abandon(_ number: UInt64) {
    let isTooMuch = state.withLock { state -> Bool? in
      // It was answered in the meantime.
      guard state.pending.removeValue(forKey: number) != nil else { return nil }
      state.abandoned.insert(number)
      return state.abandoned.count > limits.abandonedRequests
    }
    switch isTooMuch {
    case true?: end(with: FramingError(.tooManyAbandoned))
    // The task that gave up is cancelled, so it cannot send the notification itself.
    case false?: addTask { try? await self.send(Response([]), kind: .cancel, number: number) }
    case nil: break
    }
  }

  private func send(_ message: Response, kind: FrameKind, number: UInt64) async throws {
    try await channel.takeSendTurn()
    defer { channel.giveBackSendTurn() }
    try await sendInTurn(message, kind: kind, number: number)
  }

  private func sendInTurn(_ message: Response, kind: FrameKind, number: UInt64) async throws {
    let descriptors = message.takeDescriptors()
    // SAFETY: a byte array has no padding.
    try channel.check(
      unsafe message.payload.span.bytes, kind: kind, descriptorCount: descriptors.count)
    // SAFETY: as above.
    try await channel.sendInTurn(
      unsafe message.payload.span.bytes, kind: kind, number: number, descriptors: descriptors.span)
  }

  // MARK: Frames of the peer

  func start() {
    let receiver = Task(executorPreference: executor) { try await self.receiveFrames() }
    state.withLock { $0.receiver = receiver }
  }

  /// Receives until the peer closes, the socket drains or an error occurs, and then waits until all
  /// requests are answered.
  private func receiveFrames() async throws {
    defer { dropHandler() }
    do {
      while let frame = try await channel.receiveUntilDraining() { try take(frame) }
      state.withLock { $0.takesNoRequests = true }
      try await finish()
    } catch {
      end(with: error)
      await channel.close()
      await untilTasksEnd()
      throw state.withLock { $0.failure } ?? error
    }
    failRequests(with: FramingError(.connectionEnded))
    await channel.close()
  }

  private func dropHandler() {
    // Released outside the lock, because it may hold the last reference to its channel.
    _ = state.withLock { $0.handler.take() }
  }

  /// Waits until all requests are answered. If the socket drains, it still receives what handlers
  /// may wait for: replies, cancellations, the end.
  private func finish() async throws {
    let rest = Task(executorPreference: executor) { try await self.receiveRest() }
    // An answer may wait for a peer that reads nothing.
    await withTaskCancellationHandler {
      await untilTasksEnd()
    } onCancel: {
      Task(executorPreference: executor) { await self.channel.close() }
    }
    rest.cancel()
    try await rest.value
    // A cancellation may have cut off answers.
    try Task.checkCancellation()
  }

  private func receiveRest() async throws {
    do {
      while let frame = try await channel.receive() { try take(frame) }
      failRequests(with: FramingError(.connectionEnded))
      cancelHandlers()
    } catch is CancellationError {
      // All requests are answered.
    } catch {
      end(with: error)
      throw error
    }
  }

  /// Handles a frame without waiting.
  private func take(_ frame: Frame) throws {
    switch frame.kind {
    case .reply: try fulfil(frame.number, .success(frame))
    case .error: try fulfil(frame.number, .failure(RequestFailure(decoding: frame.payload)))
    case .cancel: state.withLock { $0.handling[frame.number] }?.cancel()
    case .request: try handle(frame)
    case .message: throw FramingError(.malformedHeader, detail: "a frame without a number")
    }
  }

  private func fulfil(_ number: UInt64, _ result: Result<Frame, any Error>) throws {
    let reply = try state.withLock { state in
      let reply = state.pending.removeValue(forKey: number)
      if reply == nil, state.abandoned.remove(number) == nil {
        throw FramingError(.replyWithoutRequest)
      }
      return reply
    }
    unanswered.giveBack()
    reply?.fulfil(result)
  }

  private func handle(_ frame: Frame) throws {
    let number = frame.number
    let work = try state.withLock { state -> Task<Response, any Error>? in
      guard !state.takesNoRequests, let handler = state.handler else { return nil }
      guard state.handling[number] == nil else {
        throw FramingError(.numberInUse, detail: "\(number)")
      }
      guard state.handling.count < limits.unansweredRequests else {
        throw FramingError(.tooManyRequests, detail: "at most \(limits.unansweredRequests)")
      }
      let work = Task(executorPreference: executor) { [running] in
        try await running.take()
        defer { running.giveBack() }
        let channels = HandlerTask.channels + [running]
        return try await HandlerTask.$channels.withValue(channels) { try await handler(frame) }
      }
      state.handling[number] = work
      // An end that came in the meantime has cancelled the other tasks but not this one.
      if state.failure != nil { work.cancel() }
      return work
    }
    guard let work else { return }
    addTask { await self.answer(number, await work.result) }
  }

  private func answer(_ number: UInt64, _ result: Result<Response, any Error>) async {
    // This task is never cancelled.
    guard (try? await channel.takeSendTurn()) != nil else { return }
    defer { channel.giveBackSendTurn() }
    // Removed before the answer is sent, because a peer that has the answer may reuse the number
    // and the place. If the peer reads no answers, all other answers wait for this turn.
    state.withLock { _ = $0.handling.removeValue(forKey: number) }
    do {
      try await sendInTurn(try result.get(), kind: .reply, number: number)
    } catch {
      // The handler's error, or a reply that exceeds a limit. If the connection is broken, this
      // fails too.
      let failure = RequestFailure(error).fitting(limits.frameSize)
      try? await sendInTurn(Response(failure.bytes), kind: .error, number: number)
    }
  }

  // MARK: The end

  func untilEnded() async throws {
    guard let receiver = state.withLock({ $0.receiver }) else { return }
    do {
      try await withTaskCancellationHandler {
        try await receiver.value
      } onCancel: {
        end(
          with: FramingError(
            .connectionEnded, detail: "the task that waited for its end was cancelled"))
      }
    } catch let error as FramingError where error.code == .connectionEnded {
      // Only this task was cancelled, not the requests of other tasks.
      try Task.checkCancellation()
      throw error
    }
  }

  func close() async {
    end(with: FramingError(.connectionEnded, detail: "it was closed on this side"))
    // A handler must not wait for itself.
    if HandlerTask.channels.contains(where: { $0 === running }) { return }
    _ = await state.withLock { $0.receiver }?.result
  }

  /// Ends all requests and handlers; the first error is kept. The connection is closed shortly
  /// afterwards.
  func end(with error: any Error) {
    failRequests(with: error)
    cancelHandlers()
    state.withLock { $0.receiver }?.cancel()
  }

  private func cancelHandlers() {
    let handling = state.withLock { Array($0.handling.values) }
    for work in handling { work.cancel() }
  }

  private func failRequests(with error: any Error) {
    let (pending, places) = state.withLock { state in
      if state.failure == nil { state.failure = error }
      let pending = Array(state.pending.values)
      let places = pending.count + state.abandoned.count
      state.pending.removeAll()
      state.abandoned.removeAll()
      return (pending, places)
    }
    for reply in pending { reply.fulfil(.failure(error)) }
    // Waiters for a place now find the failure.
    for _ in 0..<places { unanswered.giveBack() }
  }

  private func addTask(_ body: @escaping @Sendable () async -> Void) {
    state.withLock { state in
      let id = state.nextTask
      state.nextTask += 1
      state.tasks[id] = Task(executorPreference: executor) {
        await body()
        // Runs after the store above, which holds the lock.
        self.state.withLock { _ = $0.tasks.removeValue(forKey: id) }
      }
    }
  }

  private func untilTasksEnd() async {
    while let task = state.withLock({ $0.tasks.values.first }) { await task.value }
  }
}

/// The channels whose handler the current task runs in, each identified by its places.
private enum HandlerTask {
  @TaskLocal static var channels: [Turn] = []
}
