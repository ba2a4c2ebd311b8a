// SPDX-License-Identifier: Apache-2.0
@testable import SocketEngine

/// One socket of a schedule, as its tasks use it.
final class Endpoint: @unchecked Sendable {
  /// Nil when the schedule has dropped it; tasks that use the channel hold it.
  var channel: SocketChannel?
  let number: Int32
  let kind: SocketKind
  let incoming: Int
  let outgoing: Int
  var isClosing = false

  var isStream: Bool { kind == .stream }

  init(_ channel: SocketChannel, number: Int32, kind: SocketKind, incoming: Int, outgoing: Int) {
    self.channel = channel
    self.number = number
    self.kind = kind
    self.incoming = incoming
    self.outgoing = outgoing
  }
}
