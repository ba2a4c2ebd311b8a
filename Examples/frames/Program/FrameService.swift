// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SharedMemory
import Synchronization

/// Receives pictures from untrusted clients, and writes each as a PNG.
final class FrameService: Sendable {
  /// The number of pictures by outcome.
  struct Counts: Sendable, Equatable {
    var mapped = 0
    var copied = 0
    var refused = 0
  }

  private let directory: FilePath
  private let state = Mutex(Counts())

  init(writingTo directory: FilePath) { self.directory = directory }

  var counts: Counts { state.withLock { $0 } }

  /// Admits only memory files, one per message: other descriptors are closed before they are used.
  /// Seals are not required here, because the memory of clients that cannot seal is copied.
  static var policy: ReceivePolicy {
    var policy = ReceivePolicy(
      maximumDescriptorsPerMessage: 1, maximumDescriptorsHeld: 4, allowed: [.memoryFile()])
    policy.onSurplus = .throwError
    policy.onPayloadTruncation = .throwError
    policy.onControlTruncation = .throwError
    return policy
  }

  /// Answers a client until it leaves or has been refused three times.
  func handle(_ client: UnixSeqpacket) async throws {
    var refusals = 0
    while refusals < 3 {
      do {
        guard let message = try await client.receiveMessage() else { return }
        let name = try await take(message)
        try await client.sendMessage(Array("written \(name)".utf8))
      } catch {
        guard let reason = Self.reason(error) else { throw error }
        refusals += 1
        state.withLock { $0.refused += 1 }
        try await client.sendMessage(Array("refused: \(reason)".utf8))
      }
    }
  }

  /// The reason to refuse a message; nil for errors that are not the client's fault.
  private static func reason(_ error: any Error) -> String? {
    switch error {
    case let error as Refusal: error.description
    case let error as MemoryError: "\(error)"
    case let error as SocketError where error.code == .policyViolated:
      error.detail ?? "not admitted"
    default: nil
    }
  }

  /// Runs off the loop, because reading pixels and writing files takes time.
  @concurrent private func take(_ message: ReceivedMessage) async throws -> String {
    let header = try PictureHeader(decoding: message.payload)
    guard let file = message.takeDescriptor() else { throw Refusal("no pixels") }
    let isSealed = file.facts.seals?.isSuperset(of: [.write, .shrink]) ?? false
    let memory = try SealedMemory(adoptingOrCopying: file, atMost: PictureHeader.maximumSize)
    guard memory.byteCount == header.pixelsByteCount else {
      throw Refusal(
        "\(memory.byteCount) bytes of pixels, where \(header.pixelsByteCount) were announced")
    }
    let number = state.withLock { counts in
      if isSealed { counts.mapped += 1 } else { counts.copied += 1 }
      return counts.mapped + counts.copied
    }
    let name = "frame-\(number).png"
    let picture = PNG.encode(header, pixels: try memory.elements(of: UInt8.self))
    let output = try FileDescriptor.open(
      directory.appending(name), .writeOnly, options: [.create, .truncate, .closeOnExec],
      permissions: .ownerReadWrite)
    try output.closeAfter { _ = try output.writeAll(picture) }
    return name
  }
}
