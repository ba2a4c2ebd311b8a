// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import Harness
internal import SystemPackage

/// Receives into reused memory, and checks the messages.
struct Incoming: ~Copyable {
  private let socket: FileDescriptor
  private let fds: Int
  private var inbox: Inbox
  private let memory: UnsafeMutableBufferPointer<UInt8>

  init(_ socket: FileDescriptor, _ options: Options) {
    self.socket = socket
    fds = options.fds
    inbox = Inbox(options)
    memory = .allocate(capacity: options.bytes)
    memory.initialize(repeating: 0)
  }

  deinit { memory.deallocate() }

  /// Receives once; returns how many messages it completed, or nil at the end.
  mutating func receive() throws -> Int? {
    var room = MutableSpan(
      _unsafeElements: UnsafeMutableBufferPointer(rebasing: memory[..<inbox.room]))
    let received = try socket.receiveMessage(into: &room, upTo: fds)
    let descriptors = received.descriptors.count + received.surplus
    if received.byteCount == 0 && descriptors == 0 { return nil }
    let isTruncated = !received.flags.isDisjoint(with: [.controlTruncated, .payloadTruncated])
    let payload = UnsafeBufferPointer(rebasing: memory[..<received.byteCount])
    return try inbox.take(payload.span, descriptors: descriptors, isTruncated: isTruncated)
  }
}
