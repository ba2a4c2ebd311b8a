internal import Harness
internal import MessageSockets

/// `receiveMessage(into:)`, always into the same memory.
struct IntoMemory<Socket: BenchSocket>: Receiving {
  private let socket: Socket
  private let memory: Memory
  private var inbox: Inbox

  /// Freed with the last copy of the receiver.
  private final class Memory {
    let bytes: UnsafeMutableRawBufferPointer
    init(_ count: Int) { bytes = .allocate(byteCount: count, alignment: 1) }
    deinit { bytes.deallocate() }
  }

  init(_ socket: Socket, _ options: Options) {
    self.socket = socket
    memory = Memory(options.bytes)
    inbox = Inbox(options)
  }

  mutating func receive() async throws -> Int? {
    let room = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<inbox.room])
    var payload = OutputRawSpan(buffer: room, initializedCount: 0)
    guard let parts = try await socket.receiveMessage(into: &payload) else { return nil }
    let received = UnsafeBufferPointer(rebasing: room.assumingMemoryBound(to: UInt8.self)[..<parts.byteCount])
    return try inbox.take(received.span, descriptors: parts.descriptors.count, isTruncated: parts.outcome.isTruncated)
  }
}
