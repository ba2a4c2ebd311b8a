// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

/// The kinds of socket, for tests that apply to several of them. Pairs of them are connected.
enum TestedSocket: CaseIterable, Sendable {
  case unixStream, unixSeqpacket, unixDatagram, tcpStream, udpSocket

  /// The kinds that carry descriptors.
  static let unix: [TestedSocket] = [.unixStream, .unixSeqpacket, .unixDatagram]
  /// The kinds that have an end.
  static let connections: [TestedSocket] = [.unixStream, .unixSeqpacket, .tcpStream]

  func makeUnixPair(on loop: IOLoop? = nil) throws -> (any UnixSocket, any UnixSocket) {
    switch self {
    case .unixSeqpacket: try UnixSeqpacket.makePair(on: loop)
    case .unixDatagram: try UnixDatagram.makePair(on: loop)
    default: try UnixStream.makePair(on: loop)
    }
  }

  func makePair(on loop: IOLoop? = nil) async throws -> (any MessageSocket, any MessageSocket) {
    let loopback = InternetAddress(.loopback as IPv4Address, port: 0)
    switch self {
    case .unixStream, .unixSeqpacket, .unixDatagram: return try makeUnixPair(on: loop)
    case .tcpStream:
      let listener = try TCPListener.bind(to: loopback, on: loop)
      let left = try await TCPStream.connect(to: listener.address, on: loop)
      let right = try await listener.accept()
      await listener.close()
      return (left, right)
    case .udpSocket:
      let (left, right) = (
        try UDPSocket.bind(to: loopback, on: loop), try UDPSocket.bind(to: loopback, on: loop)
      )
      try await left.connect(to: right.localAddress()!.internet!)
      try await right.connect(to: left.localAddress()!.internet!)
      return (left, right)
    }
  }
}

/// A kind of socket, and how its messages are received: one by one, or ahead.
struct Reception: Sendable, CustomTestStringConvertible {
  let socket: TestedSocket
  let isAhead: Bool

  static let all = of(TestedSocket.allCases)
  static let unix = of(TestedSocket.unix)
  static let connections = of(TestedSocket.connections)
  /// Sockets that preserve message boundaries.
  static let messages = of([.unixSeqpacket, .unixDatagram, .udpSocket])

  static func of(_ sockets: [TestedSocket]) -> [Reception] {
    sockets.flatMap { socket in [false, true].map { Reception(socket: socket, isAhead: $0) } }
  }

  func next(from socket: some MessageSocket) async throws -> ReceivedMessage? {
    guard isAhead else { return try await socket.receiveMessage() }
    var iterator = socket.messages.makeAsyncIterator()
    return try await iterator.next()
  }

  var testDescription: String { "\(socket), \(isAhead ? "ahead" : "on demand")" }
}
