// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import MessageSockets

/// The receiving side of one end, including the checks.
///
/// All ways are in one type, because a call through a protocol would have to look up the executor,
/// which a program with one way of receiving does not do.
struct Receiver<Socket: BenchSocket> {
  /// As many messages as in the baselines' bursts.
  private static var batchSize: Int { 16 }

  private let socket: Socket
  private let shape: Shape
  private var messages: MessageSequence<Socket>.AsyncIterator
  private let memory: Memory
  private var inbox: Inbox

  /// Freed with the last copy of the receiver.
  private final class Memory {
    let bytes: UnsafeMutableRawBufferPointer
    init(_ count: Int) { bytes = .allocate(byteCount: count, alignment: 1) }
    deinit { bytes.deallocate() }
  }

  init(_ socket: Socket, _ shape: Shape, _ options: Options) {
    self.socket = socket
    self.shape = shape
    messages = socket.messages.makeAsyncIterator()
    memory = Memory(shape == .span ? options.bytes : 0)
    inbox = Inbox(options)
  }

  /// Receives once; returns how many messages it completed, or nil at the end.
  mutating func receive() async throws -> Int? {
    switch shape {
    case .receive:
      guard let message = try await socket.receiveMessage() else { return nil }
      return try inbox.take(message)
    case .messages:
      guard let message = try await messages.next(isolation: #isolation) else { return nil }
      return try inbox.take(message)
    case .span: return try await receiveIntoMemory()
    case .batches:
      let batch = try await socket.receiveMessages(upTo: Self.batchSize)
      return batch.isEmpty ? nil : try batch.reduce(0) { try $0 + inbox.take($1) }
    }
  }

  /// Always receives into the same memory.
  private mutating func receiveIntoMemory() async throws -> Int? {
    let room = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<inbox.room])
    var payload = OutputRawSpan(buffer: room, initializedCount: 0)
    guard let parts = try await socket.receiveMessage(into: &payload) else { return nil }
    let received = UnsafeBufferPointer(
      rebasing: room.assumingMemoryBound(to: UInt8.self)[..<parts.byteCount])
    return try inbox.take(
      received.span, descriptors: parts.descriptors.count, isTruncated: parts.outcome.isTruncated)
  }
}

extension Inbox {
  /// Counts a message. Its descriptors close with it.
  mutating func take(_ message: ReceivedMessage) throws -> Int {
    let payload = message.payload
    return try take(
      payload.span, descriptors: message.descriptorCount, isTruncated: message.outcome.isTruncated)
  }
}

extension DeliveryStatus {
  fileprivate var isTruncated: Bool { isPayloadTruncated || isControlTruncated }
}
