// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import Harness
internal import SystemPackage

/// The message that every end sends.
final class Outgoing: Sendable {
  private let payload: [UInt8]
  private let descriptors: OwnedFds

  init(_ options: Options) throws {
    payload = [UInt8](repeating: Inbox.pattern, count: options.bytes)
    var descriptors = OwnedFds()
    for _ in 0..<options.fds {
      descriptors.append(
        OwnedFd(adopting: try FileDescriptor.open("/dev/null", .readOnly, options: .closeOnExec)))
    }
    self.descriptors = descriptors
  }

  /// Sends the message or its beginning, with all descriptors; returns the number of bytes sent.
  func send(on socket: FileDescriptor) throws -> Int {
    try Self.send(payload, descriptors, on: socket)
  }

  /// Sends the message from byte `start` on. Its descriptors went out with its beginning.
  func sendRest(from start: Int, on socket: FileDescriptor) throws -> Int {
    try Self.send(Array(payload[start...]), OwnedFds(), on: socket)
  }

  private static func send(
    _ payload: [UInt8], _ descriptors: borrowing OwnedFds, on socket: FileDescriptor
  ) throws -> Int {
    try socket.sendMessage(payload, descriptors: descriptors.span)
  }
}
