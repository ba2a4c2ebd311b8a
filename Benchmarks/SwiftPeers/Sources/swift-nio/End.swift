// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import NIOCore

/// One end of a pair.
struct End: Sendable {
  typealias Channel = NIOAsyncChannel<ByteBuffer, ByteBuffer>
  private typealias Iterator = NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator

  private let channel: Channel
  private let options: Options
  private let meter: Meter
  private let message: ByteBuffer

  init(_ channel: Channel, _ options: Options, _ meter: Meter) {
    self.channel = channel
    self.options = options
    self.meter = meter
    message = ByteBuffer(repeating: Inbox.pattern, count: options.bytes)
  }

  func ask() async throws {
    try await channel.executeThenClose { inbound, outbound in
      var inbox = Inbox(options)
      var counter = Meter.Counter(meter)
      var incoming = inbound.makeAsyncIterator()
      while meter.isRunning {
        try await outbound.write(message)
        while true {
          guard let buffer = try await incoming.next() else { throw Failure("the peer closed") }
          if try take(buffer, &inbox) > 0 { break }
        }
        counter.add(2)
      }
    }
  }

  func answer() async throws {
    try await channel.executeThenClose { inbound, outbound in
      var inbox = Inbox(options)
      for try await buffer in inbound where try take(buffer, &inbox) > 0 {
        try await outbound.write(message)
      }
    }
  }

  func sendAll() async throws {
    try await channel.executeThenClose { _, outbound in
      while meter.isRunning { try await outbound.write(message) }
    }
  }

  func count() async throws {
    try await channel.executeThenClose { inbound, _ in
      var inbox = Inbox(options)
      var counter = Meter.Counter(meter)
      for try await buffer in inbound { counter.add(try take(buffer, &inbox)) }
    }
  }

  private func take(_ buffer: ByteBuffer, _ inbox: inout Inbox) throws -> Int {
    try buffer.withUnsafeReadableBytes { bytes in
      try inbox.take(
        bytes.assumingMemoryBound(to: UInt8.self).span, descriptors: 0, isTruncated: false)
    }
  }
}
