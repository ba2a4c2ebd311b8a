// SPDX-License-Identifier: Apache-2.0
internal import FlyingSocks
internal import Foundation
internal import Harness

/// One end of a pair.
struct End: Sendable {
  private let socket: AsyncSocket
  private let options: Options
  private let meter: Meter
  private let message: Data

  init(_ socket: AsyncSocket, _ options: Options, _ meter: Meter) {
    self.socket = socket
    self.options = options
    self.meter = meter
    message = Data(repeating: Inbox.pattern, count: options.bytes)
  }

  func ask() async throws {
    var inbox = Inbox(options)
    var counter = Meter.Counter(meter)
    while meter.isRunning {
      try await socket.write(message)
      while true {
        guard let count = try await receive(&inbox) else { throw Failure("the peer closed") }
        if count > 0 { break }
      }
      counter.add(2)
    }
    try socket.close()
  }

  func answer() async throws {
    var inbox = Inbox(options)
    while let count = try await receive(&inbox) {
      if count > 0 { try await socket.write(message) }
    }
    try socket.close()
  }

  func sendAll() async throws {
    while meter.isRunning { try await socket.write(message) }
    try socket.close()
  }

  func count() async throws {
    var inbox = Inbox(options)
    var counter = Meter.Counter(meter)
    while let count = try await receive(&inbox) { counter.add(count) }
    try socket.close()
  }

  /// Receives once; returns how many messages it completed, or nil at the end.
  private func receive(_ inbox: inout Inbox) async throws -> Int? {
    guard let bytes = try await read(atMost: inbox.room) else { return nil }
    return try inbox.take(bytes.span, descriptors: 0, isTruncated: false)
  }

  private func read(atMost count: Int) async throws -> [UInt8]? {
    do {
      return try await socket.read(atMost: count)
    } catch SocketError.disconnected {
      return nil
    }
  }
}
