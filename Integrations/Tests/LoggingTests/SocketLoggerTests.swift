// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import Logging
import MessageSocketsLogging
import MessageSocketsTesting
import Synchronization
import Testing

/// What becomes of refused peers, violated policies and drivers in a log.
@Suite(.serialized, .timeLimit(.minutes(1))) struct SocketLoggerTests {
  @Test func refusedPeersAreLogged() async throws {
    let back = Back()
    try await withDescriptorCheck {
      let loop = try IOLoop()
      let log = SocketLogger(back.logger)
      struct Refused: Error, CustomStringConvertible { let description = "no\nentry" }
      let rule = Authorization.custom { _ in throw Refused() }.logging(to: log)
      let address = try UnixAddress(abstract: "message-sockets-log-\(getpid())")
      let listener = try UnixListener<UnixSeqpacket>.bind(
        to: address, authorization: rule, on: loop)
      let accepting = Task { try await listener.accept() }
      let client = try await UnixSeqpacket.connect(to: address, on: loop)
      // The connection is closed without an answer.
      _ = try? await client.receiveMessage()
      accepting.cancel()
      _ = await accepting.result
      await client.close()
      await listener.close()
      #expect(log.flush(atMost: .seconds(30)))
    }
    let entry = try #require(back.entries.first)
    #expect(back.entries.count == 1 && entry.level == .notice)
    #expect(entry.metadata["peer_process"] == "\(getpid())")
    #expect(entry.metadata["peer_user"] == "\(geteuid())")
    #expect(entry.metadata["error"] == "no\\x0aentry")
  }

  /// Refusals go on, at the level that was chosen, while the back end takes none.
  @Test func refusalsWithABackEndThatBlocks() async throws {
    let back = Back()
    let gate = DispatchSemaphore(value: 0)
    back.block(until: gate)
    try await withDescriptorCheck {
      let loop = try IOLoop()
      let log = SocketLogger(back.logger, limit: 2)
      let address = try UnixAddress(abstract: "message-sockets-log-block-\(getpid())")
      let listener = try UnixListener<UnixSeqpacket>.bind(
        to: address, authorization: .custom { _ in false }.logging(to: log, at: .critical), on: loop
      )
      let accepting = Task { try await listener.accept() }
      for _ in 0..<10 {
        let client = try await UnixSeqpacket.connect(to: address, on: loop)
        // Ends when the listener has refused the connection.
        _ = try? await client.receiveMessage()
        await client.close()
      }
      accepting.cancel()
      _ = await accepting.result
      await listener.close()
      #expect(log.droppedEntries == 8)
      gate.signal()
      #expect(log.flush(atMost: .seconds(30)))
    }
    #expect(back.entries.map(\.level) == [.critical, .critical])
  }

  @Test func violationsAndOtherErrorsAreLogged() async throws {
    let back = Back()
    try await withDescriptorCheck {
      let loop = try IOLoop()
      let log = SocketLogger(back.logger)
      let (left, right) = try UnixSeqpacket.makePair(on: loop)
      var policy = ReceivePolicy.noDescriptors
      policy.onSurplus = .throwError
      // The kernel would refuse to send a descriptor to a socket that admits none.
      policy.maximumDescriptorsPerMessage = 1
      try await right.setReceivePolicy(policy)
      let file = try OwnedFds(duplicating: [.standardError, .standardError])
      try await left.sendMessage([1], descriptors: file.span)
      do { _ = try await right.receiveMessage() } catch { log.failure(error) }
      await right.close()
      do { try await left.sendMessage([2]) } catch { log.failure(error) }
      do { _ = try await right.receiveMessage() } catch { log.failure(error) }
      struct Other: Error {}
      log.failure(Other())
      #expect(right.logMetadata["driver"] == "\(loop.driver.kind)")
      await left.close()
      #expect(log.flush(atMost: .seconds(30)))
    }
    let entries = back.entries
    #expect(entries.map(\.level) == [.warning, .debug, .error, .error])
    #expect(entries[0].metadata["code"] == "policyViolated")
    #expect(entries[0].metadata["outcome"] != nil)
    #expect(entries[0].metadata["descriptors_surplus"] == "1")
    #expect(DeliveryStatus.complete.logMetadata.isEmpty)
    #expect(
      entries[2].metadata["code"] == "closed" && entries[2].metadata["operation"] == "receive")
  }

  @Test func theDriverIsLogged() async throws {
    let back = Back()
    let loop = try IOLoop()
    let log = SocketLogger(back.logger)
    log.driver(of: loop)
    #expect(log.flush(atMost: .seconds(30)))
    let entry = try #require(back.entries.first)
    #expect(entry.metadata["driver"] == "\(loop.driver.kind)")
    #expect(entry.metadata["reason"] == "\(loop.driver.reason)")
    await loop.shutdown()
  }

  /// What is below the logger's level is not made.
  @Test func theLevelHolds() async throws {
    let back = Back(level: .critical)
    let loop = try IOLoop()
    let log = SocketLogger(back.logger)
    log.driver(of: loop)
    #expect(log.flush(atMost: .seconds(30)))
    #expect(back.entries.isEmpty)
    await loop.shutdown()
  }

  /// Neither many control characters nor one endless character make an entry longer.
  @Test(arguments: ["\u{85}", "\u{301}", "x"]) func textsAreBounded(_ part: String) throws {
    struct Long: Error, CustomStringConvertible { let description: String }
    let back = Back()
    let log = SocketLogger(back.logger)
    log.failure(Long(description: "e" + String(repeating: part, count: 1_000_000)))
    #expect(log.flush(atMost: .seconds(30)))
    let entry = try #require(back.entries.first)
    let text = "\(try #require(entry.metadata["error"]))"
    #expect(text.unicodeScalars.first == "e")
    // As a number, so that a failure does not print the text.
    let length = text.unicodeScalars.count
    #expect(length == 512)
  }

  /// Messages flow, entries beyond the limit are dropped, and their number is told.
  @Test func aBackEndThatBlocks() async throws {
    let back = Back()
    let gate = DispatchSemaphore(value: 0)
    back.block(until: gate)
    try await withDescriptorCheck {
      let loop = try IOLoop()
      let log = SocketLogger(back.logger, limit: 4)
      try await loop.run {
        let (left, right) = try UnixSeqpacket.makePair()
        for number in 0..<100 {
          struct Other: Error {}
          log.failure(Other())
          try await left.sendMessage([UInt8(number)])
          #expect(try await right.receiveMessage()?.payload == [UInt8(number)])
        }
        for socket in [left, right] { await socket.close() }
      }
      #expect(log.droppedEntries == 96)
      #expect(!log.flush(atMost: .milliseconds(10)))
      gate.signal()
      #expect(log.flush(atMost: .seconds(30)))
      struct Last: Error {}
      log.failure(Last())
      #expect(log.flush(atMost: .seconds(30)))
    }
    let entries = back.entries
    #expect(entries.count == 5)
    let told = entries.compactMap { $0.metadata["dropped_entries"].flatMap { Int("\($0)") } }
    #expect(told.reduce(0, +) == 96)
    #expect(entries.last?.metadata["dropped_entries"] == nil)
  }
}

/// A back end that keeps the entries.
private final class Back: Sendable {
  struct Entry: Sendable {
    let level: Logger.Level
    let metadata: Logger.Metadata
  }

  private let kept = Mutex<[Entry]>([])
  private let gate = Mutex<DispatchSemaphore?>(nil)
  private let level: Logger.Level

  init(level: Logger.Level = .trace) { self.level = level }

  var entries: [Entry] { kept.withLock { $0 } }
  var logger: Logger { Logger(label: "test") { _ in Handler(back: self, logLevel: self.level) } }

  /// The next entry waits.
  func block(until gate: DispatchSemaphore) { self.gate.withLock { $0 = gate } }

  private struct Handler: LogHandler {
    let back: Back
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      back.gate.withLock { $0.take() }?.wait()
      let entry = Entry(level: event.level, metadata: event.metadata ?? [:])
      back.kept.withLock { $0.append(entry) }
    }
  }
}
