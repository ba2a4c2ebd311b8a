// SPDX-License-Identifier: Apache-2.0
/// One direction of a simulated Unix socket: the messages that were sent and not received, with the
/// rules of unix(7) about what one receive returns. Makes no system calls.
struct SimulatedQueue {
  /// An open file in a message, with the descriptor through which the simulated kernel holds it.
  struct File: Equatable {
    let id: UInt64
    let number: Int32
  }

  /// The result of one receive.
  struct Message: Equatable {
    var bytes: [UInt8] = []
    var files: [File] = []
    var isTruncated = false
  }

  let isStream: Bool
  /// How many bytes fit; a message always fits into an empty queue.
  let capacity: Int
  private(set) var messages: [Message] = []
  private var used = 0
  /// Whether nothing more can be sent, because one of the ends is closed or shut down in this
  /// direction.
  var isClosed = false

  init(isStream: Bool, capacity: Int) {
    self.isStream = isStream
    self.capacity = capacity
  }

  /// How many of `count` bytes can be sent now; nil if the sender has to wait.
  func room(for count: Int) -> Int? {
    if isStream { return used < capacity ? min(count, capacity - used) : nil }
    return used == 0 || used + count <= capacity ? count : nil
  }

  mutating func push(_ bytes: [UInt8], _ files: [File]) {
    messages.append(Message(bytes: bytes, files: files))
    used += bytes.count
  }

  /// Removes and returns the result of a receive with room for `limit` bytes; nil if there is
  /// nothing.
  ///
  /// A stream stops after a send that carried files, and before the next such send; bytes that were
  /// sent before such a send come before its own. A receive that takes part of a send takes all of
  /// its files.
  mutating func pop(limit: Int) -> Message? {
    guard let first = messages.first else { return nil }
    guard isStream else {
      messages.removeFirst()
      used -= first.bytes.count
      return Message(
        bytes: Array(first.bytes.prefix(limit)), files: first.files,
        isTruncated: first.bytes.count > limit)
    }
    var taken = Message()
    while let next = messages.first, taken.bytes.count < limit, taken.files.isEmpty {
      let part = next.bytes.prefix(limit - taken.bytes.count)
      taken.bytes += part
      taken.files = next.files
      used -= part.count
      messages[0].files = []
      messages[0].bytes.removeFirst(part.count)
      if messages[0].bytes.isEmpty { messages.removeFirst() }
    }
    return taken
  }

  /// Drops all messages, because both ends are closed.
  mutating func drop() -> [File] {
    defer {
      messages = []
      used = 0
    }
    return messages.flatMap(\.files)
  }
}
