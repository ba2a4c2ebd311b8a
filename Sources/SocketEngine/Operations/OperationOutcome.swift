// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
internal import Synchronization
package import SystemPackage

/// The outcome of an operation: its result, and everything that the kernel delivered. The code that
/// awaits the operation owns it.
package struct OperationOutcome: ~Copyable, Sendable {
  /// The result without the delivered data.
  package var result = OperationResult()
  /// `msg_flags` as the kernel left them (`MSG_TRUNC`, `MSG_CTRUNC`, `MSG_EOR` …).
  package var messageFlags: Int32 = 0
  /// The payload, if the engine supplied the buffer. In a stream, the bytes that an earlier receive
  /// has taken are still at the front: ``takenCount``.
  package var payload: [UInt8] = []
  /// How many bytes of the payload an earlier receive has taken.
  package private(set) var takenCount = 0
  /// The descriptors of a received message, or the one of an accepted connection.
  package var descriptors = OwnedFds()
  /// The other data that came with a message; nil if there was none.
  package var metadata: MessageMetadata?

  package init() {}

  // If the socket has a policy, descriptors close on the closing service's threads, wherever the
  // message is dropped.
  deinit {
    if let evaluation = metadata?.evaluation, !descriptors.isEmpty {
      evaluation.discard(descriptors)
    }
  }

  /// Drops the outcome.
  package consuming func discard() {}

  /// How many bytes of the payload are left.
  package var unreadCount: Int { payload.count - takenCount }

  /// Moves the payload out, without a copy unless part of it was taken before.
  package mutating func takePayload() -> [UInt8] {
    var bytes: [UInt8] = []
    swap(&bytes, &payload)
    defer { takenCount = 0 }
    return takenCount == 0 ? bytes : Array(bytes[takenCount...])
  }

  /// Moves all bytes of a stream's piece out, with the count of those taken before.
  package mutating func takeBytes() -> ([UInt8], taken: Int) {
    var bytes: [UInt8] = []
    swap(&bytes, &payload)
    defer { takenCount = 0 }
    return (bytes, takenCount)
  }

  /// Puts the bytes of ``takeBytes()`` back after more of them were taken.
  package mutating func putBytes(_ bytes: [UInt8], after taken: Int) {
    payload = bytes
    takenCount = taken
    result.byteCount = unreadCount
  }

  /// Removes and returns the first `count` bytes of a stream's piece, with everything that came
  /// with it. Only bytes are left, and they are not copied.
  mutating func takeFront(_ count: Int) -> OperationOutcome {
    var front = OperationOutcome()
    front.payload = Array(payload[takenCount..<(takenCount + count)])
    front.result.byteCount = count
    front.messageFlags = messageFlags
    swap(&front.descriptors, &descriptors)
    swap(&front.metadata, &metadata)
    takenCount += count
    result.byteCount = unreadCount
    messageFlags = 0
    return front
  }

  /// Moves out what a message consists of besides its bytes, and leaves an empty outcome. Returns
  /// nil at the end.
  fileprivate mutating func takeMessage(
    _ descriptors: inout OwnedFds, _ metadata: inout MessageMetadata?
  ) -> (byteCount: Int, messageFlags: Int32)? {
    let message = isEnd ? nil : (byteCount: byteCount, messageFlags: messageFlags)
    swap(&descriptors, &self.descriptors)
    swap(&metadata, &self.metadata)
    result = OperationResult()
    messageFlags = 0
    if !payload.isEmpty { payload = [] }
    takenCount = 0
    isEnd = false
    return message
  }

  /// Truncates a message that is longer than `room`; the rest of it is lost.
  mutating func cut(to room: Int) {
    let length = fullLength ?? payload.count
    payload.removeLast(payload.count - room)
    byteCount = room
    messageFlags |= cms_msg_trunc
    withMetadata { $0.fullLength = length }
  }

  /// The length of the message if it was longer than the received part.
  package var fullLength: Int? { metadata?.fullLength }

  /// How many bytes are in the caller's memory or in ``payload``. Never more than the kernel has
  /// written, whatever length it reports for the message.
  package var byteCount: Int {
    get { result.byteCount }
    set { result.byteCount = newValue }
  }

  package var errno: Errno? {
    get { result.errno }
    set { result.errno = newValue }
  }

  /// Whether a receive found the end of the stream.
  package var isEnd = false

  /// Whether the outcome is a received message, not the end or an error.
  package var isMessage: Bool { errno == nil && !isEnd && evaluation?.error == nil }

  package var evaluation: PolicyEvaluation? {
    get { metadata?.evaluation }
    set { withMetadata { $0.evaluation = newValue } }
  }

  /// Whether to throw because part of the message is missing.
  package var throwsLoss: Bool { throwsLoss(tellsLength: false) }

  /// - Parameter tellsLength: Whether the caller asked for the message's length, and so learns that
  ///   the payload was truncated.
  package func throwsLoss(tellsLength: Bool) -> Bool {
    guard let metadata else { return false }
    return metadata.throwsControlLoss || metadata.throwsPayloadLoss && !tellsLength
  }

  /// Passes the metadata to `body`; creates it first if the message has none yet.
  mutating func withMetadata(_ body: (MessageMetadata) -> Void) {
    let metadata = metadata ?? MessageMetadata()
    self.metadata = metadata
    body(metadata)
  }

  /// Copies the message's first `room` bytes, with duplicates of its descriptors.
  borrowing func copy(room: Int = .max) -> OperationOutcome {
    var copy = OperationOutcome()
    copy.result = result
    copy.messageFlags = messageFlags
    if unreadCount > room || takenCount > 0 {
      copy.payload = Array(payload[takenCount..<(takenCount + min(room, unreadCount))])
      copy.byteCount = copy.payload.count
    } else {
      copy.payload = payload
    }
    var failures = metadata?.failures ?? []
    copy.descriptors = OwnedFds(duplicating: descriptors, failures: &failures)
    if metadata != nil || !failures.isEmpty {
      copy.metadata = (metadata ?? MessageMetadata()).copy(
        holding: copy.descriptors.count, failures: failures)
    }
    copy.isEnd = isEnd
    return copy
  }
}

/// The result of an operation, without received data.
package struct OperationResult: Sendable {
  /// The bytes transferred; for a send in several parts, their sum.
  package var byteCount = 0
  /// Why the operation failed, or nil. A send may have failed after ``byteCount`` bytes had gone
  /// out.
  package var errno: Errno?
  /// Why the operation was asked to stop, if it was. If ``errno`` is nil, it succeeded all the
  /// same.
  package var stopReason: StopReason?

  package init() {}
}

/// An operation that has ended. The holder owns the outcome and may be on any thread. Dropping this
/// value discards what was not taken and frees the slot.
///
/// The value is small enough for tasks to keep while they wait: delivered data stays in the slot
/// until it is taken.
@usableFromInline
package struct CompletedOperation: ~Copyable {
  private let operation: Operation

  init(_ operation: Operation) { self.operation = operation }

  deinit {
    operation.outcome = OperationOutcome()
    operation.recycleFromAnywhere()
  }

  /// Moves the outcome out.
  package consuming func takeOutcome() -> OperationOutcome {
    let outcome = operation.takeOutcome()
    operation.recycleFromAnywhere()
    discard self
    return outcome
  }

  /// Takes the bytes of a message, before ``takeMessage(descriptors:metadata:)`` takes the rest.
  package func takePayload() -> [UInt8] { operation.outcome.takePayload() }

  /// Takes a message, without moving its whole outcome, and drops its bytes. Returns nil at the
  /// end; then there is nothing to take.
  package consuming func takeMessage(
    descriptors: inout OwnedFds, metadata: inout MessageMetadata?
  ) -> (byteCount: Int, messageFlags: Int32)? {
    let message = operation.outcome.takeMessage(&descriptors, &metadata)
    operation.recycleFromAnywhere()
    discard self
    return message
  }

  /// Whether to throw because part of the message is missing. The end is no message, whatever
  /// control data came with it.
  package func throwsLoss(tellsLength: Bool) -> Bool {
    !operation.outcome.isEnd && operation.outcome.throwsLoss(tellsLength: tellsLength)
  }

  /// Takes the result of an operation that delivers nothing else.
  consuming func takeResult() -> OperationResult {
    var result = operation.outcome.result
    result.stopReason = operation.life.stopReason
    // The slot's next use begins with a new outcome.
    operation.outcome.result = OperationResult()
    operation.recycleFromAnywhere()
    discard self
    return result
  }

  /// Whether the outcome is a received message, not the end or an error.
  var isMessage: Bool { operation.isMessage }

  /// Whether the operation was stopped because its socket drains, before it received anything.
  var wasEndedByDraining: Bool {
    operation.life.stopReason == .draining && operation.outcome.errno == .canceled
  }

  /// The error to throw if the operation failed or the policy does not admit its message.
  func failure(_ name: SocketError.Operation, address: AnySocketAddress? = nil) -> (any Error)? {
    operation.outcome.failure(name, address: address, stopReason: operation.life.stopReason)
  }

  /// Copies a message that was received into other memory to `memory`.
  // SAFETY: the caller keeps `memory`, and nothing else uses it during the call.
  @unsafe
  func settleMessage(in memory: UnsafeMutableRawBufferPointer) {
    let payload = operation.outcome.payload
    if payload.isEmpty { return }
    let taken = operation.outcome.takenCount
    assert(payload.count - taken <= memory.count, "A message was not cut to the caller's memory")
    unsafe memory.copyBytes(from: payload[taken...].prefix(memory.count))
  }
}

/// Data that most messages do not have: everything except bytes, descriptors and flags. It is
/// allocated only for messages that have some of it, so that others stay small.
///
/// `@unchecked Sendable`: filled only while one outcome holds it, and read-only from then on. A
/// lock guards the process descriptor, which can be taken.
package final class MessageMetadata: @unchecked Sendable {
  /// The slots that held an error instead of a descriptor.
  package internal(set) var failures: [DescriptorFailure] = []
  /// The credentials as received, with the kernel's overflow numbers; see `Credentials.known`.
  package internal(set) var credentials: Credentials?
  /// All control messages, with -1 in place of each descriptor; empty if the message had no control
  /// messages except descriptors.
  package internal(set) var control = ControlMessageBuffer()
  /// Why control data is missing, if `MSG_CTRUNC` reports that some is.
  package internal(set) var controlTruncation: ControlTruncation?
  /// The length of the payload if it was longer than the received part.
  package internal(set) var fullLength: Int?
  /// Whether to throw because the payload was truncated.
  var throwsPayloadLoss = false
  /// Whether to throw because control data is missing.
  var throwsControlLoss = false
  /// The policy's evaluation of the message, if the socket has a policy and the message has
  /// something to evaluate.
  package internal(set) var evaluation: PolicyEvaluation?
  /// The sender's address of a datagram.
  package internal(set) var sender: AnySocketAddress?
  private let process = Mutex<Result<ProcessFd, Errno>?>(nil)

  init() {}

  func setProcess(_ process: consuming Result<ProcessFd, Errno>?) {
    self.process.withLock { swap(&$0, &process) }
  }

  /// Takes the descriptor of the sender's process, or the error that the kernel reported instead.
  package func takeProcess() -> Result<ProcessFd, Errno>? { process.withLock { $0.take() } }

  /// Copies the metadata for a copy of the message that holds `count` descriptors; `failures` lists
  /// the descriptors that could not be duplicated.
  func copy(holding count: Int, failures: [DescriptorFailure]) -> MessageMetadata {
    let copy = MessageMetadata()
    copy.failures = failures
    copy.credentials = credentials
    copy.control = control
    copy.controlTruncation = controlTruncation
    copy.fullLength = fullLength
    copy.evaluation = evaluation?.copy(holding: count)
    copy.sender = sender
    process.withLock { copy.setProcess(ProcessFd.duplicate($0)) }
    return copy
  }
}

extension OperationOutcome {
  /// The error to throw if the operation failed or the policy does not admit its message.
  /// `stopReason` is the reason for which the operation was asked to stop, if it was.
  borrowing func failure(
    _ operation: SocketError.Operation, address: AnySocketAddress?, stopReason: StopReason?
  ) -> (any Error)? {
    var result = result
    result.stopReason = stopReason
    return result.failure(operation, address: address) ?? evaluation?.error
  }
}

extension OperationResult {
  /// The error to throw if the operation failed.
  ///
  /// - Parameter hadRing: Whether a descriptor to be sent was an io_uring.
  func failure(
    _ operation: SocketError.Operation, address: AnySocketAddress? = nil, hadRing: Bool = false
  ) -> (any Error)? {
    guard let errno else { return nil }
    if errno == .canceled, let stopReason { return stopped(stopReason, operation) }
    let code: SocketError.Code =
      switch errno {
      case .invalidArgument where hadRing: .cannotPassRing
      // The send was asked not to wait, and there was room for only part of it.
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
    case .taskCancelled: CancelledCalls.error(of: operation)
    case .deadline: SocketError(.deadlineExceeded, operation)
    case .socketClosed: SocketError(.closed, operation)
    case .loopShutdown: SocketError(.loopShutDown, operation)
    case .loopFailed: SocketError(.loopFailed, operation)
    case .windowFull, .bytesUnread, .receivingEnded, .draining:
      preconditionFailure("These ends of receives are no failures")
    }
  }
}
