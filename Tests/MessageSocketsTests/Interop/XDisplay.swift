// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

/// The part of an X client that is needed for shared memory: the core protocol and MIT-SHM 1.2, in
/// native byte order, over one of our streams.
final class XDisplay {
  struct Unexpected: Error, CustomStringConvertible {
    let description: String
  }

  private let socket: UnixStream
  private var unread: ArraySlice<UInt8> = []
  /// The message that brought the last descriptor.
  private var carrier: ReceivedMessage?
  private var root: UInt32 = 0
  private var nextID: UInt32 = 0
  private var extensionCode: UInt8 = 0

  init(at path: String) async throws {
    socket = try await UnixStream.connect(to: UnixAddress(path: FilePath(path)))
    // Byte order, version 11.0, no authorization.
    try await socket.sendMessage([0x6C, 0] + halves([11, 0, 0, 0, 0]))
    let head = try await read(8)
    guard head[0] == 1 else { throw Unexpected(description: "the display refuses: \(head)") }
    let setup = try await read(Int(half(head, 6)) * 4)
    nextID = word(setup, 4)
    let vendor = (Int(half(setup, 16)) + 3) / 4 * 4
    root = word(setup, 32 + vendor + Int(setup[21]) * 8)

    let name = Array("MIT-SHM".utf8)
    let found = try await ask([98, 0] + halves([4, UInt16(name.count), 0]) + name + [0])
    guard found[8] == 1 else { throw Unexpected(description: "no MIT-SHM") }
    extensionCode = found[9]
    let version = try await ask(request(0, []))
    guard (half(version, 8), half(version, 10)) >= (1, 2) else {
      throw Unexpected(description: "an old MIT-SHM")
    }
  }

  func close() async { await socket.close() }

  /// Sends ShmAttachFd: the server maps the file read-only.
  func attach(_ file: borrowing OwnedFd) async throws -> UInt32 {
    let segment = newID()
    try await socket.sendMessage(request(6, words([segment]) + [1, 0, 0, 0]), descriptor: file)
    return segment
  }

  /// Sends ShmCreateSegment: the reply brings a file of the server.
  func makeSegment(byteCount: Int) async throws -> (UInt32, ReceivedMessage) {
    let segment = newID()
    carrier = nil
    let reply = try await ask(request(7, words([segment, UInt32(byteCount)]) + [0, 0, 0, 0]))
    guard reply[1] == 1, let carrier else {
      throw Unexpected(description: "no descriptor in \(reply)")
    }
    return (segment, carrier)
  }

  func makePixmap(width: UInt16, height: UInt16) async throws -> UInt32 {
    let pixmap = newID()
    try await socket.sendMessage(
      [53, 24] + halves([4]) + words([pixmap, root]) + halves([width, height]))
    return pixmap
  }

  /// Sends ShmPutImage.
  func put(_ segment: UInt32, into drawable: UInt32, width: UInt16, height: UInt16) async throws {
    let context = newID()
    try await socket.sendMessage([55, 0] + halves([4]) + words([context, drawable, 0]))
    let body =
      words([drawable, context]) + halves([width, height, 0, 0, width, height, 0, 0]) + [
        24, 2, 0, 0,
      ]
      + words([segment, 0])
    try await socket.sendMessage(request(3, body))
  }

  /// Sends ShmGetImage, with the image in a segment.
  func get(_ drawable: UInt32, into segment: UInt32, width: UInt16, height: UInt16) async throws {
    let body =
      words([drawable]) + halves([0, 0, width, height]) + words([.max]) + [2, 0, 0, 0]
      + words([segment, 0])
    _ = try await ask(request(4, body))
  }

  /// Sends GetImage, with the image in the socket: 24 bits of each pixel.
  func image(of drawable: UInt32, width: UInt16, height: UInt16) async throws -> [UInt32] {
    let reply = try await ask(
      [73, 2] + halves([5]) + words([drawable]) + halves([0, 0, width, height]) + words([.max]))
    let bytes = Array(reply[32...])
    return (0..<Int(width) * Int(height)).map { word(bytes, $0 * 4) & 0xFF_FFFF }
  }

  private func newID() -> UInt32 {
    nextID += 1
    return nextID
  }

  /// A request of the extension; the length includes its header.
  private func request(_ minor: UInt8, _ body: [UInt8]) -> [UInt8] {
    [extensionCode, minor] + halves([UInt16(1 + body.count / 4)]) + body
  }

  /// Returns the reply with the data after its 32 bytes. There are no events, because none were
  /// asked for.
  private func ask(_ request: [UInt8]) async throws -> [UInt8] {
    try await socket.sendMessage(request)
    let reply = try await read(32)
    guard reply[0] == 1 else { throw Unexpected(description: "error \(reply[1]) to \(request)") }
    return reply + (try await read(Int(word(reply, 4)) * 4))
  }

  private func read(_ count: Int) async throws -> [UInt8] {
    while unread.count < count {
      guard let message = try await socket.receiveMessage() else {
        throw Unexpected(description: "the end")
      }
      if message.descriptorCount > 0 { carrier = message }
      unread += message.payload
    }
    defer { unread = unread.dropFirst(count) }
    return Array(unread.prefix(count))
  }
}

private func words(_ numbers: [UInt32]) -> [UInt8] {
  numbers.flatMap { number in (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) } }
}

private func halves(_ numbers: [UInt16]) -> [UInt8] {
  numbers.flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
}

private func word(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
  (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * UInt32($1)) }
}

private func half(_ bytes: [UInt8], _ offset: Int) -> UInt16 {
  UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8
}
