// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// The messages that the kernel has accepted from the peer and that no receive has returned yet,
/// and the expected result of each.
final class SentMessages {
  struct Message {
    var bytes: [UInt8]
    var files: [UInt64]
  }

  let kind: SocketKind
  private let admitted: Int
  private var pending: [Message] = []
  /// Whether the peer has closed or shut down.
  var isEnded = false

  init(_ kind: SocketKind, _ policy: ReceivePolicy) {
    self.kind = kind
    admitted = policy.maximumDescriptorsPerMessage
  }

  func add(_ bytes: [UInt8], _ files: [UInt64]) {
    pending.append(Message(bytes: bytes, files: files))
  }

  /// Whether nothing more can be received except the end, or on a datagram socket nothing at all.
  var isEmpty: Bool { pending.isEmpty }

  /// Whether `count` receives find something without waiting.
  func suffices(for count: Int) -> Bool {
    isEnded && kind != .datagram
      || (kind == .stream ? min(1, pending.count) : pending.count) >= count
  }

  /// Checks the results of a receive that has ended.
  func take(_ arrivals: [Arrival], of receive: Receive, wasCancelled: Bool) {
    for arrival in arrivals {
      switch arrival {
      case .message(let message):
        let isIncomplete =
          message.outcome.isControlTruncated
          || message.outcome.isPayloadTruncated && receive.way != .fullLength
        check(
          message.isThrown == (isIncomplete && receive.way != .peek),
          "a loss was not thrown, or made up")
        receive.way == .peek ? look(at: message) : take(message, mayBeEarly: receive.room != nil)
      case .end: takeEnd(leaving: receive.way == .peek)
      case .failed(let error):
        check(
          isJustified(error, receive, wasCancelled: wasCancelled),
          "a receive (\(receive)) failed: \(error)")
      }
    }
  }

  private func isJustified(_ error: any Error, _ receive: Receive, wasCancelled: Bool) -> Bool {
    if error is CancellationError { return wasCancelled }
    return switch (error as? SocketError)?.code {
    case .deadlineExceeded: receive.way == .deadline
    case .wouldBlock: receive.way == .doNotWait
    default: false
    }
  }

  /// An empty message without descriptors reads as the end.
  private func takeEnd(leaving: Bool) {
    if kind == .seqpacket, let first = pending.first, first.bytes.isEmpty, first.files.isEmpty {
      if !leaving { pending.removeFirst() }
      return
    }
    check(
      isEnded && pending.isEmpty && kind != .datagram, "an end, with \(pending.count) messages left"
    )
  }

  private func look(at message: ArrivedMessage) {
    let before = pending
    take(message, mayBeEarly: true)
    pending = before
  }

  private func take(_ message: ArrivedMessage, mayBeEarly: Bool = false) {
    var expected = kind == .stream ? popBytes(message.bytes.count) : popMessage()
    if mayBeEarly, kind == .stream, expected.files.isEmpty, !message.files.isEmpty {
      expected.files = popEarlyFiles()
    }
    check(
      message.bytes == Array(expected.bytes.prefix(message.bytes.count)),
      "bytes were lost, doubled or reordered")
    check(
      message.outcome.isPayloadTruncated == (message.bytes.count < expected.bytes.count),
      "truncation was not reported, or made up")
    check(
      expected.files.starts(with: message.files),
      "descriptors \(message.files) instead of \(expected.files)")
    check(message.files.count <= admitted, "more descriptors than the policy admits")
    check(message.outcome.failures.isEmpty, "descriptors have failed")
    let missing = expected.files.count - message.files.count - message.outcome.surplus
    check(
      missing == 0 || message.outcome.isControlTruncated,
      "\(missing) descriptors are missing, and that was not reported")
    check(message.outcome.surplus == 0 || message.files.count == admitted, "surplus was made up")
  }

  private func popMessage() -> Message {
    check(!pending.isEmpty, "a message that was not sent")
    return pending.removeFirst()
  }

  /// If plain bytes were received ahead together with the send behind them, and truncated to the
  /// caller's memory, the descriptors of that send come with the first piece. Also, a peek whose
  /// buffer ends exactly where a plain send ends was seen to bring the next send's descriptors.
  private func popEarlyFiles() -> [UInt64] {
    guard let index = pending.firstIndex(where: { !$0.files.isEmpty }) else { return [] }
    defer { pending[index].files = [] }
    return pending[index].files
  }

  /// Descriptors come with the first byte of their send.
  private func popBytes(_ count: Int) -> Message {
    check(count > 0, "an empty message of a stream")
    var taken = Message(bytes: [], files: [])
    while taken.bytes.count < count {
      check(!pending.isEmpty, "bytes that were not sent")
      let part = pending[0].bytes.prefix(count - taken.bytes.count)
      taken.bytes += part
      taken.files += pending[0].files
      pending[0].files = []
      pending[0].bytes.removeFirst(part.count)
      if pending[0].bytes.isEmpty { pending.removeFirst() }
    }
    return taken
  }
}
