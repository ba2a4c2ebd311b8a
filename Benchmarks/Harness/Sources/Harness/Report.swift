// SPDX-License-Identifier: Apache-2.0
/// The line of JSON that every program prints, with `null` for values that do not apply or are
/// unknown.
public struct Report {
  private let program: String
  private let options: Options
  private let messages: Int
  private let elapsed: Duration

  public var residentBytesPerConnection: Double?
  /// Of those, what its task takes before it has a connection.
  public var residentBytesPerTask: Double?
  public var entersPerMessage: Double?
  public var hopsPerMessage: Double?
  public var allocationsPerMessage: Double?
  /// Further members, as name and text.
  public var notes: KeyValuePairs<String, String> = [:]

  public init(_ program: String, _ options: Options, messages: Int, elapsed: Duration) throws {
    guard messages > 0 else { throw Failure("nothing was measured") }
    self.program = program
    self.options = options
    self.messages = messages
    self.elapsed = elapsed
  }

  public func print() {
    let nanoseconds = elapsed / .nanoseconds(1) / Double(messages)
    var members = [
      Self.text("program", program), Self.text("mode", options.mode.rawValue),
      Self.text("kind", options.kind.rawValue),
      "\"pairs\":\(options.pairCount)", "\"fds\":\(options.fds)", "\"bytes\":\(options.bytes)",
      "\"threads\":\(options.threads)",
      Self.figure("ns_per_roundtrip", options.mode.countsRoundTrips ? 2 * nanoseconds : nil),
      Self.figure("ns_per_message", nanoseconds),
      Self.figure("resident_bytes_per_connection", residentBytesPerConnection),
      Self.figure("resident_bytes_per_task", residentBytesPerTask),
      "\"messages\":\(messages)",
      Self.figure("enters_per_message", entersPerMessage),
      Self.figure("hops_per_message", hopsPerMessage),
      Self.figure("allocations_per_message", allocationsPerMessage),
    ]
    members += notes.map { Self.text($0.key, $0.value) }
    Swift.print("{\(members.joined(separator: ","))}")
  }

  private static func text(_ name: String, _ value: String) -> String { "\"\(name)\":\"\(value)\"" }

  private static func figure(_ name: String, _ value: Double?) -> String {
    guard let value else { return "\"\(name)\":null" }
    return "\"\(name)\":\((value * 10_000).rounded() / 10_000)"
  }
}
