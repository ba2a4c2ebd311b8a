// SPDX-License-Identifier: Apache-2.0
import SystemPackage

@testable import SocketEngine

/// The events of a schedule, as the simulated kernel and as the tasks saw them, and the comparison
/// of the two, which checks the contract.
final class Ledger {
  /// A message as seen by one of the two sides.
  struct Received {
    var bytes: [UInt8]
    var ids: [UInt64]
    /// `MSG_TRUNC`; below, `MSG_CTRUNC`.
    var isTruncated = false
    var lacksFiles = false
    /// The size of the task's own memory, if it was received there.
    var room: Int?
    /// The order in which the task asked for it.
    var ticket = 0
  }

  /// One direction of a pair of sockets.
  struct Direction {
    var kind: SocketKind
    var isStream: Bool { kind == .stream }
    /// The bytes that the kernel has accepted.
    var sentBytes = 0
    var sentMessages = 0
    var delivered: [Received] = []
    var received: [Received] = []
    /// Tickets of receives that found the end.
    var ends: [Int] = []
    /// Tasks that wait for a message.
    var waiting = 0
    /// Errors that the kernel has reported to receives and that no task has seen yet.
    var errors: [Int32] = []
    /// Whether the receiving socket was closed, dropped, or shut down with its loop, so that its
    /// prefetched messages are gone.
    var mayHaveDropped = false
  }

  /// A message to send.
  struct Sending {
    let bytes: [UInt8]
    let ids: [UInt64]
    var sentBytes = 0
    var sentFiles = false
    var isSent = false
    var errno: Int32?
  }

  var directions: [Direction] = []
  var sendings: [UInt64: Sending] = [:]
  /// The descriptors that tasks are sending, and keep open during the send.
  var lent: [Int32: UInt64] = [:]
  /// Connections that the kernel has given to accepts are numbered; these are the numbers that
  /// tasks have received.
  var connectionsMade: UInt64 = 0
  var connectionsAccepted: [UInt64] = []
  /// The largest window of any schedule, in messages.
  static let largestWindow = 4
  private(set) var violations: [String] = []
  private var tickets = 0

  /// How often each event occurred, for the summary.
  var counts: [String: Int] = [:]

  func violate(_ text: String) {
    if violations.count < 10 { violations.append(text) }
  }

  func count(_ name: String) { counts[name, default: 0] += 1 }

  func nextTicket() -> Int {
    tickets += 1
    return tickets
  }

  // MARK: Comparing

  /// Records that a send has returned, with or without an error.
  func sendEnded(_ number: UInt64, isStream: Bool, error: (any Error)?, stoppedBytes: Int) {
    guard let sending = sendings.removeValue(forKey: number) else {
      return violate("send \(number) returned twice")
    }
    if let error {
      if sending.sentBytes != stoppedBytes {
        violate(
          "send \(number) of \(sending.bytes.count) bytes: \(sending.sentBytes) went out, reported \(stoppedBytes): \(error)"
        )
      }
      if !isStream, sending.isSent { violate("send \(number) failed, but went out: \(error)") }
    } else {
      if sending.sentBytes != sending.bytes.count || !sending.isSent {
        violate(
          "send \(number) succeeded after \(sending.sentBytes) of \(sending.bytes.count) bytes")
      }
      if !sending.ids.isEmpty, !sending.sentFiles { violate("send \(number) lost its descriptors") }
    }
  }

  /// Checks an error of a receive: the kernel must have reported it to this direction.
  func receiveFailed(_ index: Int, _ errno: Errno) {
    guard let place = directions[index].errors.firstIndex(of: errno.rawValue) else {
      return violate(
        "direction \(index): a receive failed with \(errno), which the kernel had not said")
    }
    directions[index].errors.remove(at: place)
  }

  /// Checks the contract after everything has ended.
  func close() {
    for index in directions.indices { check(directions[index], "direction \(index)") }
    if connectionsMade > 0, connectionsAccepted.sorted() != Array(1...connectionsMade) {
      violate("\(connectionsMade) connections were accepted, tasks got \(connectionsAccepted)")
    }
    if !sendings.isEmpty { violate("\(sendings.count) sends have not returned") }
    if !lent.isEmpty { violate("\(lent.count) descriptors are still lent") }
  }

  private func check(_ direction: Direction, _ name: String) {
    let received = direction.received.sorted { $0.ticket < $1.ticket }
    // The end of a datagram socket is its shutdown, after which messages may still be received.
    if direction.kind != .datagram, let end = direction.ends.min(), let last = received.last,
      last.ticket > end
    {
      violate("\(name): a message came after the end")
    }
    if direction.isStream {
      checkStream(direction, received, name)
    } else {
      checkMessages(direction, received, name)
    }
  }

  private func checkStream(_ direction: Direction, _ received: [Received], _ name: String) {
    let bytes = received.flatMap(\.bytes)
    let delivered = direction.delivered.flatMap(\.bytes)
    guard delivered.starts(with: bytes) else {
      return violate("\(name): the bytes are not those that were sent, in order")
    }
    if bytes.count < delivered.count, !direction.mayHaveDropped {
      violate("\(name): \(delivered.count - bytes.count) bytes were lost")
    }
    // Descriptors belong to the receive in which their delivery begins.
    var starts: [Int: [UInt64]] = [:]
    var offset = 0
    for message in direction.delivered {
      starts[offset, default: []] += message.ids
      offset += message.bytes.count
    }
    offset = 0
    for message in received {
      let expected = (offset..<(offset + message.bytes.count)).flatMap { starts[$0] ?? [] }
      if message.ids != expected {
        violate(
          "\(name): descriptors \(message.ids) came at byte \(offset), where \(expected) were")
      }
      offset += message.bytes.count
    }
  }

  private func checkMessages(_ direction: Direction, _ received: [Received], _ name: String) {
    if received.count > direction.delivered.count {
      return violate("\(name): more messages were received than sent")
    }
    if received.count < direction.delivered.count, !direction.mayHaveDropped {
      violate("\(name): \(direction.delivered.count - received.count) messages were lost")
    }
    for (sent, got) in zip(direction.delivered, received) {
      let bytes = Array(sent.bytes.prefix(got.room ?? Int.max))
      guard bytes == got.bytes, sent.ids == got.ids else {
        return violate(
          "\(name): received \(got.bytes) with \(got.ids), sent were \(sent.bytes) with \(sent.ids)"
        )
      }
      if got.isTruncated != (sent.isTruncated || bytes.count < sent.bytes.count) {
        violate("\(name): truncation was not reported, or made up")
      }
      if got.lacksFiles != sent.lacksFiles {
        violate("\(name): missing descriptors were not reported, or made up")
      }
    }
  }
}
