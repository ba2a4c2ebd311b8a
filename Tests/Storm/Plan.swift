// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SeededRandom

/// The actions of one connection, determined by the seed.
struct Plan {
  enum Kind: CaseIterable { case stream, seqpacket, datagram }

  /// How the connection ends.
  enum Fate {
    /// The sender marks its last message, and both sides close.
    case complete
    /// The sender closes or drops its socket after some messages: the receiver gets all of them,
    /// and finds the end.
    case senderCloses, senderDrops
    /// The receiver closes or drops its socket, perhaps during a receive: the received messages are
    /// a prefix of those that were sent.
    case receiverCloses, receiverDrops
  }

  let line: UInt64
  let kind: Kind
  let fate: Fate
  /// Whether it is a connection of a listener and not a socket pair.
  let isConnected: Bool
  let messages: Int
  /// The size of the socket's send buffer in bytes; nil for the default.
  let sendBuffer: Int?
  let sendsOnLoop: Bool
  let receivesOnLoop: Bool
  let senderSeed: UInt64
  let receiverSeed: UInt64

  init(seed: UInt64, worker: Int, round: Int) {
    line = UInt64(worker) << 32 | UInt64(round)
    var random = SeededGenerator(seed: seed ^ line &* 0xD129_0B26_4E3A_95A1)
    let kind = Kind.allCases.randomElement(using: &random)!
    self.kind = kind
    fate =
      switch random.number(0...7) {
      // Datagram sockets have no end to find.
      case 0 where kind != .datagram: .senderCloses
      case 1 where kind != .datagram: .senderDrops
      case 2: .receiverCloses
      case 3: .receiverDrops
      default: .complete
      }
    isConnected = kind != .datagram && random.oneIn(3)
    messages = random.number(1...100)
    // Makes most senders wait for room.
    sendBuffer = random.oneIn(4) ? nil : 4608
    sendsOnLoop = random.oneIn(2)
    receivesOnLoop = random.oneIn(2)
    senderSeed = random.next()
    receiverSeed = random.next()
  }
}
