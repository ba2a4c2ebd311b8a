// SPDX-License-Identifier: Apache-2.0
import MessageFraming
import MessageSockets
import Synchronization
import SystemPackage
import Varlink

/// The service of the storm, and the calls to it.
enum StormService {
  struct Number: Codable, Sendable { var number: Int }
  struct File: Codable, Sendable { var file: Int }

  static func make() -> VarlinkService {
    var storm = VarlinkInterface(
      "com.example.Storm",
      description: """
        interface com.example.Storm
        method Echo(number: int) -> (number: int)
        method Open(number: int) -> (file: int)
        method Read(file: int) -> (number: int)
        method Count(number: int) -> (number: int)
        """)
    storm.method("Echo") { (number: Number, _) in number }
    storm.method("Open") { (number: Number, call) in
      File(file: try call.push(try .numbered(number.number)))
    }
    storm.method("Read") { (file: File, call) in
      let descriptor = try call.takeDescriptor(at: file.file)
      return Number(number: descriptor.number)
    }
    storm.method("Count") { (number: Number, call) in
      for step in 0..<5 {
        _ = try call.push(try .numbered(number.number + step))
        try await call.reply(Number(number: number.number + step))
      }
      return Number(number: number.number + 5)
    }
    var service = VarlinkService(
      vendor: "Example", product: "Storm", version: "1", url: "https://example.com")
    service.add(storm)
    return service
  }

  /// Makes one call, and compares the reply.
  static func call(
    _ client: VarlinkClient, _ kind: Int, _ number: Int, _ deadline: Deadline,
    _ tally: Tally
  ) async throws {
    switch kind {
    case 0:
      let reply = try await client.call(
        "com.example.Storm.Echo", Number(number: number), returning: Number.self, deadline: deadline
      )
      tally.compare(reply.descriptorCount, 0)
      tally.compare(reply.parameters.number, number)
    case 1:
      let reply = try await client.call(
        "com.example.Storm.Open", Number(number: number), returning: File.self, deadline: deadline)
      tally.compare(reply.descriptorCount, 1)
      let file = try reply.takeDescriptor(at: reply.parameters.file)
      tally.compare(file.number, number)
    case 2:
      var files = OwnedFds()
      files.append(try .numbered(number))
      let reply = try await client.call(
        "com.example.Storm.Read", File(file: 0), returning: Number.self, descriptors: files,
        deadline: deadline)
      tally.compare(reply.descriptorCount, 0)
      tally.compare(reply.parameters.number, number)
    default:
      var step = 0
      let replies = try await client.callMore(
        "com.example.Storm.Count", Number(number: number), returning: Number.self,
        deadline: deadline)
      for try await reply in replies {
        tally.compare(reply.descriptorCount, step < 5 ? 1 : 0)
        tally.compare(reply.parameters.number, number + step)
        if step < 5 {
          let file = try reply.takeDescriptor(at: 0)
          tally.compare(file.number, number + step)
        }
        step += 1
        if number % 7 == step { break }
      }
    }
  }
}

/// Counts of the events.
final class Tally: Sendable {
  struct Counts: Sendable {
    var replies = 0
    var cancelled = 0
    var expired = 0
    var ended = 0
    var compared = 0
    var violations = 0
  }

  private let counts = Mutex(Counts())

  var violations: Int { counts.withLock { $0.violations } }

  var summary: String {
    let counts = counts.withLock { $0 }
    return
      "\(counts.replies) calls answered, \(counts.cancelled) cancelled, \(counts.expired) expired, \(counts.ended) ended with "
      + "their connection; \(counts.compared) numbers compared, \(counts.violations) wrong"
  }

  func count(_ path: WritableKeyPath<Counts, Int> & Sendable) {
    counts.withLock { $0[keyPath: path] += 1 }
  }

  /// Counts a call whose connection has ended. Any other error is a violation.
  func countEnd(_ error: any Error) {
    if Self.isEnd(error) { count(\.ended) } else { violate("a call: \(error)") }
  }

  /// Checks an error that the service reports: a call or the service may have been stopped. Any
  /// other error is a violation.
  func checkService(_ error: any Error) {
    let isInterrupted = (error as? FramingError)?.code == .endInsideFrame
    if !isInterrupted, !(error is CancellationError), !Self.isEnd(error) {
      violate("the service: \(error)")
    }
  }

  /// Whether the error is an end of the connection, which a send that is cancelled half-way causes
  /// for all calls on it.
  private static func isEnd(_ error: any Error) -> Bool {
    switch error {
    case let error as FramingError: error.code == .sendInterrupted
    case let error as VarlinkFailure: error.code == .connectionEnded
    case let error as SocketError: error.code == .peerClosed || error.code == .closed
    default: false
    }
  }

  /// Checks that there were enough replies: a run with hardly any progress proves nothing.
  func expectReplies(atLeast least: Int) {
    let replies = counts.withLock { $0.replies }
    if replies < least {
      violate("\(replies) calls were answered, at least \(least) were expected")
    }
  }

  func compare(_ found: Int, _ expected: Int) {
    count(\.compared)
    if found != expected { violate("\(found) came, \(expected) was expected") }
  }

  func violate(_ text: String) {
    report("VIOLATION: \(text)")
    count(\.violations)
  }
}
