// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SharedMemory

/// Renders pictures into memory, which is sent without a copy.
struct FrameClient {
  let service: UnixSeqpacket

  static func connect(to path: String, on loop: IOLoop) async throws -> FrameClient {
    FrameClient(service: try await .connect(to: try UnixAddress(argument: path), on: loop))
  }

  /// Sends one picture; returns the service's answer.
  func send(_ header: PictureHeader, frame: Int) async throws -> String {
    var memory = try MutableMemory(byteCount: header.pixelsByteCount, name: "frame")
    var pixels = try memory.elements(of: Pixel.self)
    for index in pixels.indices {
      let (y, x) = index.quotientAndRemainder(dividingBy: header.width)
      pixels[index] = Pixel(
        red: UInt8(truncatingIfNeeded: x + frame * 8), green: UInt8(truncatingIfNeeded: y),
        blue: UInt8(truncatingIfNeeded: x ^ y), alpha: 255)
    }
    let sealed = try memory.sealed()
    try await service.sendMessage(header.encoded, descriptor: sealed.descriptor)
    return try await answer()
  }

  func answer() async throws -> String {
    let message = try await service.receiveMessage(deadline: .now + .seconds(30))
    guard let message else { throw Refusal("the service has closed the connection") }
    return String(decoding: message.payload, as: UTF8.self)
  }
}

struct Pixel: AnyBitPattern {
  var red, green, blue, alpha: UInt8
}
