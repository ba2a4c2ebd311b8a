// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageSockets

/// Our end of the channel that Node's child_process uses: lines of JSON, some of them with one
/// descriptor.
///
/// A message with a descriptor has an envelope, `{"cmd":"NODE_HANDLE","type":…,"msg":…}`, and must
/// be answered with `{"cmd":"NODE_HANDLE_ACK"}` before the next one may follow.
final class NodeChannel {
  struct Message: Codable, Equatable {
    var name: String?
    var port: UInt16?
    var inode: UInt64?
    var count: Int?
  }

  private struct Envelope: Codable {
    var cmd: String
    var type: String?
    var msg: Message?
  }

  private let socket: UnixStream
  private var bytes: [UInt8] = []
  private var descriptors = OwnedFds()

  init(_ socket: UnixStream) { self.socket = socket }

  func send(_ message: Message) async throws { try await socket.sendMessage(try line(message)) }

  /// Sends a message with a handle, and waits until the process has taken it.
  func send(_ message: Message, _ descriptor: consuming OwnedFd, as type: String) async throws {
    try await socket.sendMessage(
      try line(Envelope(cmd: "NODE_HANDLE", type: type, msg: message)), descriptor: descriptor)
    let answer = try await receiveEnvelope()
    guard answer?.cmd == "NODE_HANDLE_ACK" else {
      throw UnexpectedMessage(envelope: "\(String(describing: answer))")
    }
  }

  /// Receives a message with a handle, and acknowledges it.
  func receive(_ type: String) async throws -> (Message, OwnedFdBox) {
    let envelope = try await receiveEnvelope()
    guard envelope?.cmd == "NODE_HANDLE", envelope?.type == type, let message = envelope?.msg,
      let descriptor = descriptors.takeFirst()
    else {
      throw UnexpectedMessage(envelope: "\(String(describing: envelope))")
    }
    try await socket.sendMessage(try line(Envelope(cmd: "NODE_HANDLE_ACK")))
    return (message, OwnedFdBox(descriptor))
  }

  /// Whether the process has ended the channel.
  func isAtEnd() async throws -> Bool { try await receiveEnvelope() == nil }

  func close() async { await socket.close() }

  struct UnexpectedMessage: Error { let envelope: String }

  /// Holds a descriptor in a tuple, which cannot hold one directly.
  final class OwnedFdBox {
    private var descriptor: OwnedFd?
    init(_ descriptor: consuming OwnedFd) { self.descriptor = consume descriptor }
    func take() -> OwnedFd { descriptor.take()! }
  }

  private func line(_ value: some Encodable) throws -> [UInt8] {
    Array(try JSONEncoder().encode(value)) + [UInt8(ascii: "\n")]
  }

  private func receiveEnvelope() async throws -> Envelope? {
    while true {
      if let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
        defer { bytes.removeFirst(end + 1) }
        return try JSONDecoder().decode(Envelope.self, from: Data(bytes[..<end]))
      }
      guard let message = try await socket.receiveMessage() else { return nil }
      bytes += message.payload
      while let descriptor = message.takeDescriptor() { descriptors.append(descriptor) }
    }
  }
}
