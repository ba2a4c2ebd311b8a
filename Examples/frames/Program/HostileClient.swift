// SPDX-License-Identifier: Apache-2.0
import CMemoryFile
import MessageSockets
import SharedMemory

/// Clients that are malicious or faulty.
enum Harms: String, CaseIterable {
  /// A memory file without seals, which shrinks and grows while the service may read it.
  case cut
  /// Sealed against future writes only: an old mapping continues to write.
  case rewritten
  /// Fewer pixels than announced.
  case short
  /// More pixels than any picture has.
  case large
  /// Numbers whose product overflows.
  case overflow
  /// A terabyte of holes.
  case holes
  /// A device, which is endless.
  case device
  /// Several descriptors.
  case several
  /// No descriptor.
  case none
  /// No header.
  case garbage

  /// Whether the service may accept the picture: unsealed memory is copied.
  var mayBeTaken: Bool { self == .cut || self == .rewritten }

  /// Performs the attack; returns the service's answer.
  func run(_ client: FrameClient) async throws -> String {
    let header = PictureHeader(width: 64, height: 64)
    let size = Int64(header.pixelsByteCount)
    switch self {
    case .cut: return try await cutWhileItIsRead(header, client)
    case .rewritten: try await send(header.encoded, cmf_half_sealed(size), client)
    case .short: try await send(header.encoded, cmf_unsealed(size - 1), client)
    case .large:
      try await send(PictureHeader(width: 30000, height: 30000).encoded, cmf_unsealed(size), client)
    case .overflow: try await send([UInt8](repeating: 0xFF, count: 8), cmf_unsealed(size), client)
    case .holes: try await send(header.encoded, cmf_unsealed(1 << 40), client)
    case .device:
      let device = try FileDescriptor.open(FilePath("/dev/zero"), .readOnly, options: .closeOnExec)
      try await client.service.sendMessage(header.encoded, descriptor: OwnedFd(adopting: device))
    case .several:
      var files = OwnedFds()
      for _ in 0..<200 { files.append(try Self.owned(cmf_unsealed(16))) }
      try await client.service.sendMessage(header.encoded, descriptors: files.span)
    case .none: try await client.service.sendMessage(header.encoded)
    case .garbage: try await send([1, 2, 3], cmf_unsealed(size), client)
    }
    return try await client.answer()
  }

  private func send(_ header: [UInt8], _ number: Int32, _ client: FrameClient) async throws {
    try await client.service.sendMessage(header, descriptor: try Self.owned(number))
  }

  private static func owned(_ number: Int32) throws -> OwnedFd {
    guard number >= 0 else { throw Refusal("no memory file could be made") }
    return OwnedFd(adopting: FileDescriptor(rawValue: number))
  }

  private func cutWhileItIsRead(_ header: PictureHeader, _ client: FrameClient) async throws
    -> String
  {
    let size = Int64(header.pixelsByteCount)
    let file = try Self.owned(cmf_unsealed(size))
    var answers: [String] = []
    for _ in 0..<20 {
      try await client.service.sendMessage(header.encoded, descriptor: file)
      let number = file.withUnsafeFileDescriptor { $0.rawValue }
      for _ in 0..<200 {
        cmf_resize(number, 0)
        cmf_resize(number, size)
      }
      answers.append(try await client.answer())
      // After three refusals the service hangs up.
      if answers.filter({ $0.hasPrefix("refused") }).count == 3 { break }
    }
    return answers.last ?? ""
  }
}
