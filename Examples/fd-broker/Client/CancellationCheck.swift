// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// Cancels receives and iterations at awkward moments, and checks after each that every reply still
/// comes, once and in order.
struct CancellationCheck {
  let client: BrokerClient
  let files: FileList
  /// How many receives to cancel.
  let target: Int

  private var ledger: ReplyLedger
  private(set) var cancelled = 0
  private(set) var replies = 0
  private var round = 0

  init(client: BrokerClient, files: FileList, root: FilePath, target: Int) {
    self.client = client
    self.files = files
    self.target = target
    ledger = ReplyLedger(root: root)
  }

  /// - Throws: ``Failure`` if a reply was lost, duplicated or overtaken, or if receives cannot be
  ///   cancelled at all.
  mutating func run() async throws {
    while cancelled < target {
      guard round < 100 * (target + 10) else {
        throw Failure("only \(cancelled) receives were cancelled in \(round) rounds")
      }
      switch round % 7 {
      case 0: try await cancelBeforeTheRequest()
      case 1: try await cancelRacingTheReply()
      case 2: try await leaveInMidIteration()
      case 3: try await receiveInACancelledTask()
      case 4: try await cancelAnIteration()
      case 5: try await cancelAGroup()
      default: try await cancelASend()
      }
      try await takeOutstanding()
      round += 1
    }
  }

  // MARK: Awkward moments

  /// No message is in flight: the receive must end, and must not take a later message.
  private mutating func cancelBeforeTheRequest() async throws {
    let message = try await receiveAndCancel()
    guard message == nil else { throw Failure("a message came before the request") }
    try await request(1)
  }

  /// The reply may or may not win; in either case it must not be lost.
  private mutating func cancelRacingTheReply() async throws {
    try await request(1)
    if let message = try await receiveAndCancel() { try settle(message) }
  }

  /// Replies that an iteration left by `break` has not asked for stay in the socket.
  private mutating func leaveInMidIteration() async throws {
    try await request(3)
    for try await message in client.socket.messages {
      try settle(message)
      break
    }
  }

  /// A task that is cancelled before it starts gets nothing, although a reply may have arrived.
  private mutating func receiveInACancelledTask() async throws {
    try await request(1)
    let client = client
    let message = try await withThrowingTaskGroup(of: ReceivedMessage.self) { group in
      group.cancelAll()
      group.addTask { try await client.receive() }
      return try await group.nextUnlessCancelled()
    }
    guard message == nil else { throw Failure("a cancelled task received a message") }
    cancelled += 1
  }

  /// An iteration is cancelled while replies arrive.
  private mutating func cancelAnIteration() async throws {
    try await iterateAndCancel(tasks: 1, requests: 4)
  }

  /// Several iterations share the replies, and are cancelled as one.
  private mutating func cancelAGroup() async throws {
    guard target - cancelled >= 3 else { return }
    try await iterateAndCancel(tasks: 3, requests: 6)
  }

  /// A cancelled send was either sent completely, and is answered, or not sent at all, and is not
  /// answered.
  private mutating func cancelASend() async throws {
    let request = ledger.makeRequest(for: nextName)
    let client = client
    let sent = try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await client.send(request) }
      await visitLoop()
      group.cancelAll()
      return try await group.nextUnlessCancelled() != nil
    }
    if sent { ledger.add(request) }
  }

  // MARK: Steps

  private var nextName: String { files[wrapping: Int(ledger.nextNumber)] }

  private mutating func request(_ count: Int) async throws {
    for _ in 0..<count {
      let request = ledger.makeRequest(for: nextName)
      try await client.send(request)
      ledger.add(request)
    }
  }

  private mutating func settle(_ message: ReceivedMessage) throws {
    try ledger.settle(message)
    replies += 1
  }

  /// Receives all outstanding replies, which must be there.
  private mutating func takeOutstanding() async throws {
    while ledger.count > 0 { try settle(try await client.receive()) }
  }

  /// Visits the loop's thread a varying number of times, so that the following cancellation meets
  /// the operation at another point of its life.
  private func visitLoop() async {
    for _ in 0..<round / 7 % 5 { _ = await client.socket.loop.statistics }
  }

  /// Returns the received message; nil if the receive was cancelled.
  private mutating func receiveAndCancel() async throws -> ReceivedMessage? {
    let client = client
    let message = try await withThrowingTaskGroup(of: ReceivedMessage.self) { group in
      group.addTask { try await client.receive() }
      await visitLoop()
      group.cancelAll()
      return try await group.nextUnlessCancelled()
    }
    if message == nil { cancelled += 1 }
    return message
  }

  private mutating func iterateAndCancel(tasks: Int, requests: Int) async throws {
    let client = client
    var received: [ReceivedMessage] = []
    try await withThrowingTaskGroup(of: [ReceivedMessage].self) { group in
      for _ in 0..<tasks {
        group.addTask { try await client.messagesUntilCancelled() }
      }
      try await request(requests)
      await visitLoop()
      group.cancelAll()
      for try await messages in group { received += messages }
    }
    cancelled += tasks
    // Several tasks receive in no particular order, so the order of the messages is compared.
    for message in received.sorted(by: {
      $0.payload.dropFirst().lexicographicallyPrecedes($1.payload.dropFirst())
    }) { try settle(message) }
  }
}
