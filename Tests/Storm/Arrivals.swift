// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// The messages that have arrived on one connection, checked one by one.
///
/// `@unchecked Sendable`: the receiver's tasks use it one after the other.
final class Arrivals: @unchecked Sendable {
  private let plan: Plan
  private let tally: Tally
  /// The number of the next message.
  private(set) var next: UInt64 = 0
  private(set) var isComplete = false
  /// For a stream, the bytes of an incomplete message.
  private var bytes: [UInt8] = []
  /// The numbers of descriptors whose message has not been read yet.
  private var files: [UInt64] = []

  init(_ plan: Plan, _ tally: Tally) {
    self.plan = plan
    self.tally = tally
  }

  /// Whether only complete messages have arrived.
  var isAtBoundary: Bool { bytes.isEmpty && files.isEmpty }

  func take(_ message: ReceivedMessage) {
    if message.outcome != .complete { violate("something is missing: \(message.outcome)") }
    take(message.payload[...], message.takeDescriptors())
  }

  func take(_ payload: ArraySlice<UInt8>, _ descriptors: consuming OwnedFds) {
    while let descriptor = descriptors.takeFirst() {
      guard let numbers = descriptor.takeNumbers(), numbers.line == plan.line else {
        violate("a descriptor is not this connection's, or not close-on-exec")
        continue
      }
      files.append(numbers.number)
      tally.add(.descriptors)
    }
    if plan.kind == .stream {
      bytes += payload
      var start = bytes.startIndex
      while let frame = Frame(header: bytes[start...]),
        bytes.count - start >= Frame.headerLength + frame.length
      {
        let end = start + Frame.headerLength + frame.length
        take(frame, bytes[(start + Frame.headerLength)..<end])
        start = end
      }
      bytes.removeFirst(start)
    } else if let frame = Frame(header: payload) {
      take(frame, payload.dropFirst(Frame.headerLength))
      if !files.isEmpty { violate("\(files.count) descriptors too many") }
    } else {
      violate("a message of \(payload.count) bytes")
    }
  }

  private func take(_ frame: Frame, _ body: ArraySlice<UInt8>) {
    if isComplete { violate("message \(frame.number) came after the last") }
    if frame.number != next { violate("message \(frame.number) came instead of \(next)") }
    if !frame.isBody(body) { violate("message \(frame.number) is not what was sent") }
    if frame.hasFile {
      if files.isEmpty {
        violate("the descriptor of message \(frame.number) is missing")
      } else if files.removeFirst() != frame.number {
        violate("message \(frame.number) has another's descriptor")
      }
    }
    next = frame.number + 1
    isComplete = frame.isLast
    tally.add(.messages)
  }

  private func violate(_ text: String) {
    tally.violate("\(plan.kind) \(plan.line), fate \(plan.fate): \(text)")
  }
}
