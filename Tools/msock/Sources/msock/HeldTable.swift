// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets
import Synchronization

/// The held descriptors, by name.
actor HeldTable {
  private var entries: [String: Held] = [:]
  /// The names of entries on their way to a client. An entry stays held until the client has
  /// confirmed its arrival.
  private var leaving: Set<String> = []
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  /// Admits all descriptors of a client, one message at a time.
  static var policy: ReceivePolicy {
    var policy = ReceivePolicy()
    policy.onControlTruncation = .throwError
    policy.onPayloadTruncation = .throwError
    return policy
  }

  /// Answers a client until it leaves.
  nonisolated func answer(_ client: UnixSeqpacket) async throws {
    while true {
      let message: ReceivedMessage
      do {
        guard let next = try await client.receiveMessage() else { return }
        message = next
      } catch let error as SocketError where error.code == .messageIncomplete {
        try await client.reply(HoldReply(error: "not all of it arrived at the holder: \(error)"))
        continue
      }
      guard let request = try? JSONDecoder().decode(HoldRequest.self, from: Data(message.payload))
      else {
        try await client.reply(HoldReply(error: "not understood"))
        continue
      }
      switch request.operation {
      case .store: try await client.reply(await store(message, as: request.name ?? ""))
      case .list: for reply in try await list() { try await client.reply(reply) }
      case .take: try await give(request.name ?? "", to: client)
      case .taken, .becoming, .keep: break
      }
    }
  }

  private func store(_ message: ReceivedMessage, as name: String) -> HoldReply {
    guard HoldRequest.isName(name) else { return HoldReply(error: "no name") }
    guard entries[name] == nil else {
      return HoldReply(error: "'\(name)' is held already; take it first")
    }
    guard message.descriptorCount > 0 else {
      return HoldReply(error: "no descriptor came with '\(name)'")
    }
    let count = entries.values.reduce(message.descriptorCount) { $0 + $1.descriptions.count }
    guard count <= limit else {
      return HoldReply(error: "full: \(limit) descriptors are kept at most (--limit)")
    }
    entries[name] = Held(message.takeDescriptors())
    Console.note("stored '\(name)': \(count) of \(limit) descriptors are held")
    return HoldReply()
  }

  /// Lists the entries in as many replies as necessary: a client receives 64 KiB at a time, and a
  /// path may be long.
  private func list() throws -> [HoldReply] {
    var replies = [HoldReply(entries: [])]
    var length = 0
    for (name, held) in entries.sorted(by: { $0.key < $1.key }) {
      for description in held.descriptions {
        let entry = HoldReply.Entry(name: name, descriptors: [description])
        let more = try JSONEncoder().encode(entry).count
        if length > 0, length + more > 32 << 10 {
          replies[replies.count - 1].isContinued = true
          replies.append(HoldReply(entries: []))
          length = 0
        }
        replies[replies.count - 1].entries?.append(entry)
        length += more
      }
    }
    return replies
  }

  /// Gives an entry to a client. It stays in the table until the client has confirmed its arrival,
  /// and no other client can get it in the meantime.
  private nonisolated func give(_ name: String, to client: UnixSeqpacket) async throws {
    let held: Held
    do { held = try await begin(giving: name) } catch {
      return try await client.reply(HoldReply(error: error.text))
    }
    do {
      let deadline = Deadline.now + .seconds(10)
      try await held.send(
        Array(try JSONEncoder().encode(HoldReply())), to: client, deadline: deadline)
      try await Self.confirmation(of: client, deadline: deadline)
    } catch {
      await end(giving: name, isTaken: false)
      throw error
    }
    await end(giving: name, isTaken: true)
    Console.note("'\(name)' was taken")
  }

  private func begin(giving name: String) throws(Failure) -> Held {
    guard let held = entries[name] else { throw Failure(.no, "nothing is held as '\(name)'") }
    guard leaving.insert(name).inserted else {
      throw Failure(.no, "'\(name)' is being taken by another")
    }
    return held
  }

  private func end(giving name: String, isTaken: Bool) {
    leaving.remove(name)
    if isTaken { entries[name] = nil }
  }

  /// Waits until a client has confirmed the arrival. A client that becomes a program announces
  /// that, and closes the connection when it has succeeded.
  private nonisolated static func confirmation(
    of client: UnixSeqpacket, deadline: Deadline
  ) async throws {
    var isBecoming = false
    while let message = try await client.receiveMessage(deadline: deadline) {
      let said = try? JSONDecoder().decode(HoldRequest.self, from: Data(message.payload))
      switch said?.operation {
      case .taken: return
      case .becoming: isBecoming = true
      default: throw NotTaken()
      }
    }
    guard isBecoming else { throw NotTaken() }
  }

  private struct NotTaken: Error, CustomStringConvertible {
    var description: String { "it has not taken what it asked for" }
  }
}

/// Descriptors that were stored together.
private final class Held: Sendable {
  let descriptions: [Description]
  private let descriptors: Mutex<OwnedFds>

  init(_ descriptors: consuming OwnedFds) {
    descriptions = Self.describe(descriptors)
    self.descriptors = Mutex(descriptors)
  }

  private static func describe(_ descriptors: borrowing OwnedFds) -> [Description] {
    let span = descriptors.span
    return span.indices.map { Description(span[$0]) }
  }

  /// Sends the descriptors with a message; they also stay here. Do not call it concurrently.
  func send(
    _ message: [UInt8], to client: UnixSeqpacket, deadline: Deadline
  ) async throws {
    let files = descriptors.withLock { held in
      var taken = OwnedFds()
      swap(&taken, &held)
      return taken
    }
    do {
      try await client.sendMessage(message, descriptors: files.span, deadline: deadline)
    } catch {
      putBack(files)
      throw error
    }
    putBack(files)
  }

  private func putBack(_ files: consuming OwnedFds) {
    var files = files
    descriptors.withLock { swap(&$0, &files) }
  }
}

extension UnixSeqpacket {
  fileprivate nonisolated func reply(_ reply: HoldReply) async throws {
    try await sendMessage(Array(try JSONEncoder().encode(reply)))
  }
}
