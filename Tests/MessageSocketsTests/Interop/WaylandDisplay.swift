// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage

/// The part of a Wayland compositor that a client needs until it shares memory: `wl_compositor`,
/// `xdg_wm_base` and `wl_shm`, in native byte order, over one of our streams.
final class WaylandDisplay {
  struct Unexpected: Error, CustomStringConvertible {
    let description: String
  }

  private struct Request {
    let object: UInt32
    let opcode: UInt32
    let body: [UInt8]
  }

  /// The client's globals, with names from 0 in this order.
  private static let globals: [(interface: String, version: UInt32)] = [
    ("wl_compositor", 4), ("xdg_wm_base", 1), ("wl_shm", 1),
  ]

  /// The size of the memory as stated by the client.
  private(set) var poolByteCount = 0
  private let client: UnixStream
  private var unread: [UInt8] = []
  private var descriptors = OwnedFds()
  /// The interfaces of those client objects that matter here.
  private var interfaces: [UInt32: String] = [1: "wl_display"]

  init(_ client: UnixStream) { self.client = client }

  func close() async { await client.close() }

  /// Answers until the client has sent its memory (`wl_shm.create_pool`). The message with the
  /// memory is sent when the client has painted.
  func pool() async throws -> OwnedFd {
    while let request = try await next() {
      switch (interfaces[request.object] ?? "", request.opcode) {
      case ("wl_display", 0): try await send(word(request, 0), 0, words([1]))
      case ("wl_display", 1): try await announce(to: word(request, 0))
      case ("wl_registry", 0): try await bind(request)
      case ("xdg_wm_base", 2): interfaces[word(request, 0)] = "xdg_surface"
      // get_toplevel: configure it immediately, so that the client paints.
      case ("xdg_surface", 1): try await send(request.object, 0, words([1]))
      case ("wl_shm", 0):
        guard let file = descriptors.takeFirst() else { throw Unexpected(description: "no file") }
        poolByteCount = Int(word(request, 4))
        return file
      default: break
      }
    }
    throw Unexpected(description: "the client has gone")
  }

  private func announce(to registry: UInt32) async throws {
    interfaces[registry] = "wl_registry"
    for (name, global) in Self.globals.enumerated() {
      var text = Array(global.interface.utf8) + [0]
      let length = text.count
      text += [UInt8](repeating: 0, count: (4 - length % 4) % 4)
      try await send(
        registry, 0, words([UInt32(name), UInt32(length)]) + text + words([global.version]))
    }
  }

  private func bind(_ request: Request) async throws {
    let name = Int(word(request, 0))
    let length = (Int(word(request, 4)) + 3) / 4 * 4
    let object = word(request, 12 + length)
    interfaces[object] = Self.globals[name].interface
    // The formats that every compositor has: ARGB8888 and XRGB8888.
    guard Self.globals[name].interface == "wl_shm" else { return }
    for format in [0, 1] as [UInt32] { try await send(object, 0, words([format])) }
  }

  private func send(_ object: UInt32, _ opcode: UInt32, _ body: [UInt8]) async throws {
    try await client.sendMessage(words([object, UInt32(8 + body.count) << 16 | opcode]) + body)
  }

  private func next() async throws -> Request? {
    while true {
      if unread.count >= 8 {
        let (object, second) = (Self.word(unread, 0), Self.word(unread, 4))
        let length = Int(second >> 16)
        guard length >= 8 else { throw Unexpected(description: "a request of \(length) bytes") }
        if unread.count >= length {
          defer { unread.removeFirst(length) }
          return Request(object: object, opcode: second & 0xFFFF, body: Array(unread[8..<length]))
        }
      }
      guard let message = try await client.receiveMessage() else { return nil }
      unread += message.payload
      while let file = message.takeDescriptor() { descriptors.append(file) }
    }
  }

  private func word(_ request: Request, _ offset: Int) -> UInt32 { Self.word(request.body, offset) }

  private static func word(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
    bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
  }

  private func words(_ numbers: [UInt32]) -> [UInt8] {
    numbers.flatMap { number in withUnsafeBytes(of: number) { Array($0) } }
  }
}
