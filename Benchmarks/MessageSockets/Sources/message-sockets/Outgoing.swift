// SPDX-License-Identifier: Apache-2.0
internal import Harness
internal import MessageSockets
internal import SystemPackage

/// The message that every end sends.
final class Outgoing: Sendable {
  private let payload: [UInt8]
  private let descriptors: OwnedFds

  init(_ options: Options) throws {
    payload = [UInt8](repeating: Inbox.pattern, count: options.bytes)
    var descriptors = OwnedFds()
    if options.fds > 0 {
      // Several owners of one open file: for the kernel, this equals sending one of them several
      // times.
      let null = OwnedFd(
        adopting: try FileDescriptor.open("/dev/null", .readOnly, options: .closeOnExec))
      for _ in 1..<options.fds { descriptors.append(try null.duplicate()) }
      descriptors.append(null)
    }
    self.descriptors = descriptors
  }

  @inline(__always)
  func send(on socket: some UnixSocket) async throws {
    if descriptors.isEmpty {
      try await socket.sendMessage(payload)
    } else {
      try await Self.send(payload, descriptors, on: socket)
    }
  }

  /// Sends with sendmsg(2); the socket must not be full.
  func send(blockingOn socket: FileDescriptor) throws {
    let count = try Self.send(payload, descriptors, blockingOn: socket)
    guard count == payload.count else { throw Failure("an empty socket does not take a message") }
  }

  // A span of a class's property would have to outlive the access; a span of a parameter is
  // borrowed for the call.

  @inline(__always)
  private static func send(
    _ payload: [UInt8], _ descriptors: borrowing OwnedFds, on socket: some UnixSocket
  ) async throws {
    try await socket.sendMessage(payload, descriptors: descriptors.span)
  }

  private static func send(
    _ payload: [UInt8], _ descriptors: borrowing OwnedFds, blockingOn socket: FileDescriptor
  ) throws -> Int {
    try socket.sendMessage(payload, descriptors: descriptors.span)
  }
}
