@testable import SocketEngine

/// One socket of a schedule, as its tasks see it.
final class Endpoint: @unchecked Sendable {
  /// Nil when the schedule has dropped it; tasks that use it hold it.
  var channel: SocketChannel?
  let number: Int32
  let isStream: Bool
  let incoming: Int
  let outgoing: Int
  var isClosing = false

  init(_ channel: SocketChannel, number: Int32, isStream: Bool, incoming: Int, outgoing: Int) {
    self.channel = channel
    self.number = number
    self.isStream = isStream
    self.incoming = incoming
    self.outgoing = outgoing
  }
}
