// SPDX-License-Identifier: Apache-2.0
internal import DequeModule
public import MessageSockets
internal import SocketEngine

extension NamedDescriptors {
  /// Takes the first descriptor of that name as a Unix listener.
  ///
  /// - Throws: ``ServiceError``: `unknownName`; `wrongKind`, with what it is instead: then it is
  ///   closed. ``SocketError`` as `IOLoop` does when the shared loop cannot be
  ///   started.
  public mutating func takeListener<Connection: UnixConnection>(
    named name: String, of connections: Connection.Type = Connection.self,
    authorization: Authorization = .sameUser,
    policy: ReceivePolicy = ReceivePolicy(), on loop: IOLoop? = nil,
    connectionsOn group: IOLoopGroup? = nil
  ) throws -> UnixListener<Connection> {
    try adopt(name) { (descriptor, file) throws(SocketError) in
      try UnixListener(
        adopting: descriptor, boundTo: file, authorization: authorization, policy: policy, on: loop,
        connectionsOn: group)
    }
  }

  /// Takes the first descriptor of that name as a TCP listener; see
  /// ``takeListener(named:of:authorization:policy:on:connectionsOn:)``.
  public mutating func takeListener(
    named name: String, on loop: IOLoop? = nil, connectionsOn group: IOLoopGroup? = nil
  ) throws -> TCPListener {
    try adopt(name) { (descriptor, _) throws(SocketError) in
      try TCPListener(adopting: descriptor, on: loop, connectionsOn: group)
    }
  }

  /// Takes the first descriptor of that name as a Unix datagram socket; see
  /// ``takeListener(named:of:authorization:policy:on:connectionsOn:)``.
  public mutating func takeDatagram(named name: String, on loop: IOLoop? = nil) throws
    -> UnixDatagram
  {
    try adopt(name) { (descriptor, file) throws(SocketError) in
      try UnixDatagram(adopting: descriptor, boundTo: file, on: loop)
    }
  }

  /// Takes the first descriptor of that name as a UDP socket; see
  /// ``takeListener(named:of:authorization:policy:on:connectionsOn:)``.
  public mutating func takeDatagram(named name: String, on loop: IOLoop? = nil) throws -> UDPSocket
  {
    try adopt(name) { (descriptor, _) throws(SocketError) in
      try UDPSocket(adopting: descriptor, on: loop)
    }
  }

  /// Takes the first descriptor of that name as a connected Unix socket, as a service has it that
  /// is started for each connection, or that had stored it; see
  /// ``takeListener(named:of:authorization:policy:on:connectionsOn:)``.
  public mutating func takeConnection<Connection: UnixConnection>(
    named name: String, as connection: Connection.Type = Connection.self, on loop: IOLoop? = nil
  ) throws -> Connection {
    try adopt(name) { (descriptor, _) throws(SocketError) in
      try Connection(adopting: descriptor, on: loop)
    }
  }

  /// Takes the first descriptor of that name as a TCP connection; see
  /// ``takeListener(named:of:authorization:policy:on:connectionsOn:)``.
  public mutating func takeConnection(named name: String, on loop: IOLoop? = nil) throws
    -> TCPStream
  {
    try adopt(name) { (descriptor, _) throws(SocketError) in
      try TCPStream(adopting: descriptor, on: loop)
    }
  }

  private mutating func adopt<Socket>(
    _ name: String, _ make: (consuming OwnedFd, consuming SocketFile?) throws(SocketError) -> Socket
  ) throws -> Socket {
    let claim = entries[try index(of: name)].file
    let descriptor = try takeDescriptor(named: name)
    let facts = descriptor.facts
    do throws(SocketError) {
      return try make(descriptor, claim.map { SocketFile($0) })
    } catch {
      guard error.code == .wrongSocketKind else { throw error }
      var detail = "the descriptor named \(name) is a \(facts.kind)"
      if case .socket = facts.kind, let found = error.detail {
        detail = "the descriptor named \(name): \(found)"
      }
      throw ServiceError(.wrongKind, detail, errno: error.errno)
    }
  }
}
