// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
internal import MessageFraming
internal import MessageSockets
internal import SocketEngine

/// The calls of one connection, in the order in which they were sent, which is the order of the
/// replies.
///
/// A call joins the queue while it holds the turn to send, so the queue has the order of the bytes.
/// One task receives, and gives each reply to the first call in the queue.
final class ClientConnection: Sendable {
  let channel: FramedChannel<UnixStream>
  private let limits: VarlinkLimits

  private struct State {
    var calls = Deque<PendingCall>()
    var abandoned = 0
    /// Why no further call can be made.
    var failure: (any Error)?
    /// The task that receives replies.
    var receiver: Task<Void, Never>?
    /// The sender of a call with descriptors, which waits until all calls are answered.
    var idleWaiter: CheckedContinuation<Void, any Error>?
  }

  private let state = TSanVisibleMutex(State())

  init(_ socket: UnixStream, _ limits: VarlinkLimits) {
    let format = FrameFormat.zeroTerminated(
      maximumSize: limits.messageSize, maximumDescriptors: limits.maximumDescriptorsPerMessage)
    channel = FramedChannel(socket, format: format)
    self.limits = limits
  }

  // MARK: Sending

  /// Sends a call.
  ///
  /// - Throws: Also `CancellationError`; nothing was sent then, and no reply will come.
  func send(_ message: [UInt8], descriptors: borrowing OwnedFds, as call: PendingCall?) async throws
  {
    // SAFETY: a byte array has no padding.
    try channel.check(unsafe message.span.bytes, kind: .message, descriptorCount: descriptors.count)
    try await channel.takeSendTurn()
    defer { channel.giveBackSendTurn() }
    if !descriptors.isEmpty, !limits.pipelinesDescriptors { try await untilAllIsAnswered() }
    try join(call)
    do {
      // SAFETY: as above.
      try await channel.sendInTurn(
        unsafe message.span.bytes, kind: .message, number: 0, descriptors: descriptors.span)
    } catch {
      // The call was not sent, or the channel has ended.
      if call != nil { state.withLock { _ = $0.calls.popLast() } }
      throw error
    }
  }

  private func join(_ call: PendingCall?) throws {
    try state.withLock { state in
      if let failure = state.failure { throw failure }
      if let call { state.calls.append(call) }
    }
  }

  private func untilAllIsAnswered() async throws {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let outcome = state.withLock { state -> Result<Void, any Error>? in
          if let failure = state.failure { return .failure(failure) }
          if state.calls.isEmpty { return .success(()) }
          if Task.isCancelled { return .failure(CancellationError()) }
          assert(state.idleWaiter == nil, "Two senders have the turn")
          state.idleWaiter = continuation
          return nil
        }
        if let outcome { continuation.resume(with: outcome) }
      }
    } onCancel: {
      state.withLock { $0.idleWaiter.take() }?.resume(throwing: CancellationError())
    }
  }

  // MARK: Receiving

  /// Starts to receive.
  func start() {
    let receiver = Task(executorPreference: channel.socket.loop.taskExecutor) {
      await self.receiveReplies()
    }
    state.withLock { $0.receiver = receiver }
  }

  /// Gives each reply to its call until the connection ends, which ends all calls.
  private func receiveReplies() async {
    do {
      while let frame = try await channel.receive() { try await deliver(frame) }
      end(with: VarlinkFailure(.connectionEnded))
    } catch {
      // If this is a cancellation, the actual reason was recorded before.
      end(with: error)
    }
    await channel.close()
  }

  private func deliver(_ frame: Frame) async throws {
    let reply = RawReply(frame: frame, message: try ReplyMessage(frame.payload))
    let (call, idleWaiter) = try state.withLock { state in
      guard let call = state.calls.first else { throw VarlinkFailure(.replyWithoutCall) }
      if reply.message.continues {
        guard call.wantsMore else { throw VarlinkFailure(.unexpectedContinuation) }
        return (call, nil as CheckedContinuation<Void, any Error>?)
      }
      state.calls.removeFirst()
      return (call, state.calls.isEmpty ? state.idleWaiter.take() : nil)
    }
    idleWaiter?.resume()
    let isDropped = await call.put(reply)
    if isDropped, !reply.message.continues { state.withLock { $0.abandoned -= 1 } }
  }

  /// Gives up a call, whose task no longer waits: its reply will be received and dropped.
  func abandon(_ call: PendingCall) {
    guard call.abandon() else { return }
    let isTooMuch = state.withLock { state in
      state.abandoned += 1
      return state.abandoned > limits.abandonedCalls
    }
    if isTooMuch { end(with: VarlinkFailure(.tooManyAbandonedCalls)) }
  }

  /// Ends all current and later calls; the first error is kept. The connection is closed shortly
  /// afterwards.
  func end(with error: any Error) {
    let (calls, idleWaiter, receiver) = state.withLock { state in
      if state.failure == nil { state.failure = error }
      defer { state.calls.removeAll() }
      return (state.calls, state.idleWaiter.take(), state.receiver)
    }
    for call in calls { call.fail(error) }
    idleWaiter?.resume(throwing: error)
    receiver?.cancel()
  }

  /// Ends all calls, and returns when the connection is closed.
  func close() async {
    end(with: VarlinkFailure(.connectionEnded, detail: "it was closed on this side"))
    await state.withLock { $0.receiver }?.value
  }
}
