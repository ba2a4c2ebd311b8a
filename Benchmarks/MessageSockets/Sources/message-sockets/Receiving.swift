internal import MessageSockets
internal import Harness

/// One end's way to receive, with the checks.
protocol Receiving: SendableMetatype {
  associatedtype Socket: BenchSocket

  init(_ socket: Socket, _ options: Options)

  /// One receive: how many messages it completed; nil at the end.
  mutating func receive() async throws -> Int?
}

extension Inbox {
  /// Takes note of a message. Its descriptors close with it.
  mutating func take(_ message: ReceivedMessage) throws -> Int {
    let payload = message.payload
    return try take(payload.span, descriptors: message.descriptorCount, isTruncated: message.outcome.isTruncated)
  }
}

extension ReceiveOutcome {
  var isTruncated: Bool { isPayloadTruncated || isControlTruncated }
}
