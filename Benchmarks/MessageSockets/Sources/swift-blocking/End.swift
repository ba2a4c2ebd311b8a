// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import Glibc
internal import Harness
internal import SystemPackage

/// One end of a pair, used by one thread.
final class End: Sendable {
  private let socket: FileDescriptor
  private let options: Options
  private let outgoing: Outgoing
  private let meter: Meter

  init(_ socket: FileDescriptor, _ options: Options, _ outgoing: Outgoing, _ meter: Meter) {
    self.socket = socket
    self.options = options
    self.outgoing = outgoing
    self.meter = meter
  }

  func ask() throws {
    var incoming = Incoming(socket, options)
    var counter = Meter.Counter(meter)
    while meter.isRunning {
      try send()
      while true {
        guard let count = try incoming.receive() else { throw Failure("the peer closed") }
        if count > 0 { break }
      }
      counter.add(2)
    }
    // Unlike a close, this also ends the far end's receive on a datagram socket.
    Glibc.shutdown(socket.rawValue, Int32(SHUT_RDWR))
    try socket.close()
  }

  func answer() throws {
    var incoming = Incoming(socket, options)
    while let count = try incoming.receive() {
      if count > 0 { try send() }
    }
    try socket.close()
  }

  func sendAll() throws {
    while meter.isRunning { try send() }
    try socket.close()
  }

  func count() throws {
    var incoming = Incoming(socket, options)
    var counter = Meter.Counter(meter)
    while let count = try incoming.receive() { counter.add(count) }
    try socket.close()
  }

  /// Sends one complete message; the descriptors go with its first byte.
  private func send() throws {
    var sent = try outgoing.send(on: socket)
    while sent < options.bytes { sent += try outgoing.sendRest(from: sent, on: socket) }
  }
}
