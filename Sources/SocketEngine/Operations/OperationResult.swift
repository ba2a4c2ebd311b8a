// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import CMessageSockets
internal import Synchronization
package import SystemPackage

/// What became of an operation: the kernel's last word, and all that it delivered. Owned by whoever
/// awaits it.
package struct OperationOutcome: ~Copyable, Sendable {
  /// What the kernel said.
  package var result = OperationResult()
  /// `msg_flags` as the kernel left them (`MSG_TRUNC`, `MSG_CTRUNC`, `MSG_EOR` …).
  package var messageFlags: Int32 = 0
  /// The payload, where the engine lent the buffer. Of a stream's bytes, those that an earlier
  /// receive has taken stand in front: ``takenCount``.
  package var payload: [UInt8] = []
  /// How many bytes of the payload an earlier receive has taken.
  package private(set) var takenCount = 0
  /// The descriptors of a received message; that of an accepted connection.
  package var descriptors = OwnedFds()
  /// What else came with a message; nil if nothing did.
  package var metadata: MessageMetadata?

  package init() {}

  // Under a policy descriptors close where that does no harm, wherever the message is dropped.
  deinit {
    if let evaluation = metadata?.evaluation, !descriptors.isEmpty {
      evaluation.discard(descriptors)
    }
  }

  /// Ends here, unwanted.
  package consuming func discard() {}

  /// How many bytes of the payload are left.
  package var unreadCount: Int { payload.count - takenCount }

  /// Moves the payload out: no copy, unless a part of it was taken before.
  package mutating func takePayload() -> [UInt8] {
    var bytes: [UInt8] = []
    swap(&bytes, &payload)
    defer { takenCount = 0 }
    return takenCount == 0 ? bytes : Array(bytes[takenCount...])
  }

  /// Moves all bytes of a stream's piece out, with how many of them were taken before.
  package mutating func takeBytes() -> ([UInt8], taken: Int) {
    var bytes: [UInt8] = []
    swap(&bytes, &payload)
    defer { takenCount = 0 }
    return (bytes, takenCount)
  }

  /// Puts them back, when more were taken.
  package mutating func putBytes(_ bytes: [UInt8], after taken: Int) {
    payload = bytes
    takenCount = taken
    result.byteCount = unreadCount
  }

  /// Takes off the first `count` bytes of a stream's piece, with all that came with it. What is
  /// left is bytes only, and is not copied.
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

  /// Cuts a message that is longer than `room`. The rest of it is lost.
  mutating func cut(to room: Int) {
    let length = fullLength ?? payload.count
    payload.removeLast(payload.count - room)
    byteCount = room
    messageFlags |= cms_msg_trunc
    withMetadata { $0.fullLength = length }
  }

  /// How long the message was, where it was longer than what arrived of it.
  package var fullLength: Int? { metadata?.fullLength }

  /// Bytes that were written into the caller's memory, or are in ``payload``. Never more than the
  /// kernel has written, whatever it says of a message's length.
  package var byteCount: Int {
    get { result.byteCount }
    set { result.byteCount = newValue }
  }

  package var errno: Errno? {
    get { result.errno }
    set { result.errno = newValue }
  }

  /// For a receive: whether it found the end of the stream.
  package var isEnd = false

  /// Whether it is a received message, and not the end or an error.
  package var isMessage: Bool { errno == nil && !isEnd && evaluation?.error == nil }

  package var evaluation: PolicyEvaluation? {
    get { metadata?.evaluation }
    set { withMetadata { $0.evaluation = newValue } }
  }

  /// Fills what most messages do not have.
  mutating func withMetadata(_ body: (MessageMetadata) -> Void) {
    let metadata = metadata ?? MessageMetadata()
    self.metadata = metadata
    body(metadata)
  }

  /// A copy of the message's first `room` bytes, with descriptors of its own.
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

/// The kernel's last word on an operation, without what it delivered.
package struct OperationResult: Sendable {
  /// Bytes transferred; for a send in several parts, the sum of them.
  package var byteCount = 0
  /// Why the operation failed, or nil. A send may have failed after ``byteCount`` bytes had gone
  /// out.
  package var errno: Errno?
  /// Why it was asked to stop, if it was. It may have succeeded all the same: then ``errno`` is
  /// nil.
  package var stopReason: StopReason?

  package init() {}
}

/// What most messages do not have: all but bytes, descriptors and flags. Made for a message that
/// has some of it, so that the others stay small.
///
/// `@unchecked Sendable`: filled as long as one outcome has it, and from then on only read; the
/// process descriptor, which is given away, has a lock.
package final class MessageMetadata: @unchecked Sendable {
  /// Slots that held an error instead of a descriptor.
  package internal(set) var failures: [DescriptorFailure] = []
  /// As they came, with the kernel's overflow numbers: see `Credentials.known`.
  package internal(set) var credentials: Credentials?
  /// All control messages, with -1 in the place of each descriptor; empty if there were others than
  /// descriptors only.
  package internal(set) var control = ControlMessageBuffer()
  /// Why control data is missing, where `MSG_CTRUNC` says that some is.
  package internal(set) var controlTruncation: ControlTruncation?
  /// How long the payload was, where it was longer than what arrived of it.
  package internal(set) var fullLength: Int?
  /// Its payload was cut, and that is to be thrown.
  var throwsPayloadLoss = false
  /// Control data is missing, and that is to be thrown.
  var throwsControlLoss = false
  /// What the socket's policy has said about the message, if it has one and there was something to
  /// say.
  package internal(set) var evaluation: PolicyEvaluation?
  /// Where a datagram came from.
  package internal(set) var sender: AnySocketAddress?
  private let process = Mutex<Result<ProcessFd, Errno>?>(nil)

  init() {}

  func setProcess(_ process: consuming Result<ProcessFd, Errno>?) {
    self.process.withLock { swap(&$0, &process) }
  }

  /// Gives away the descriptor of the sender's process, or what the kernel said instead.
  package func takeProcess() -> Result<ProcessFd, Errno>? { process.withLock { $0.take() } }

  /// The same for a copy of the message, with `count` descriptors of its own; `failures` says which
  /// it could not have.
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
  /// What to throw, if the operation, which was asked to stop for `stopReason`, failed or its
  /// message is not admitted.
  borrowing func failure(
    _ operation: SocketError.Operation, address: AnySocketAddress?, stopReason: StopReason?
  ) -> (any Error)? {
    var result = result
    result.stopReason = stopReason
    return result.failure(operation, address: address) ?? evaluation?.error
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
