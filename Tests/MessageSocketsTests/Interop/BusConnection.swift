// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets

/// A connection to a message bus that passes descriptors.
///
/// A stream tells neither where a message ends nor to which bytes a descriptor belongs. Bytes and
/// descriptors are collected, and each message states how many of both it has.
final class BusConnection {
  private let socket: UnixStream
  private var bytes: [UInt8] = []
  private var descriptors = OwnedFds()
  private var serial: UInt32 = 0

  /// Authenticates, and negotiates the passing of descriptors.
  init(to address: UnixAddress) async throws {
    socket = try await UnixStream.connect(to: address)
    let user = "\(getuid())".utf8.map { String($0, radix: 16) }.joined()
    try await socket.sendMessage(Array("\0AUTH EXTERNAL \(user)\r\n".utf8))
    guard try await receiveLine().hasPrefix("OK ") else { throw BusError() }
    try await socket.sendMessage(Array("NEGOTIATE_UNIX_FD\r\n".utf8))
    guard try await receiveLine() == "AGREE_UNIX_FD" else { throw BusError() }
    try await socket.sendMessage(Array("BEGIN\r\n".utf8))
    _ = try await callBus("Hello", "", [])
  }

  func close() async { await socket.close() }

  /// Calls the bus itself, and waits for the answer.
  func callBus(_ member: String, _ signature: String, _ body: [UInt8]) async throws -> BusMessage {
    var call = BusMessage.call(member, of: "org.freedesktop.DBus", at: "/org/freedesktop/DBus")
    (call.signature, call.body) = (signature, body)
    let serial = try await send(call, OwnedFds())
    while true {
      let (message, _) = try await receive()
      guard message.replySerial == serial else { continue }
      guard message.kind == .reply else { throw BusError() }
      return message
    }
  }

  @discardableResult
  func send(_ message: BusMessage, _ descriptors: consuming OwnedFds) async throws -> UInt32 {
    serial += 1
    var numbered = message
    numbered.serial = serial
    try await socket.sendMessage(numbered.encoded, descriptors: descriptors.span)
    return serial
  }

  func receive() async throws -> (BusMessage, Descriptors) {
    while bytes.count < 16 { try await receiveMore() }
    let length = try BusMessage.length(of: bytes)
    while bytes.count < length { try await receiveMore() }
    let message = try BusMessage(decoding: Array(bytes[..<length]))
    bytes.removeFirst(length)
    let own = Descriptors()
    for _ in 0..<message.descriptorCount {
      guard let descriptor = descriptors.takeFirst() else { throw BusError() }
      own.list.append(descriptor)
    }
    return (message, own)
  }

  /// The descriptors of one message; a tuple cannot hold them directly.
  final class Descriptors {
    var list = OwnedFds()
  }

  private func receiveLine() async throws -> String {
    while true {
      if let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
        defer { bytes.removeFirst(end + 1) }
        return String(decoding: bytes[..<(end - 1)], as: UTF8.self)
      }
      try await receiveMore()
    }
  }

  private func receiveMore() async throws {
    guard let message = try await socket.receiveMessage() else { throw BusError() }
    bytes += message.payload
    while let descriptor = message.takeDescriptor() { descriptors.append(descriptor) }
  }
}
