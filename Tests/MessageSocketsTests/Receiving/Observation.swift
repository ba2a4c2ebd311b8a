// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import Testing

/// The result of one receive.
enum Observation: Equatable, Sendable {
  case message(Seen)
  case end
  case failed(SocketError.Code)
  case cancelled

  /// A message as its receiver sees it.
  struct Seen: Equatable, Sendable {
    var bytes: [UInt8]
    /// The numbers of its files (``OwnedFd/numbered(_:)``); -1 for other files.
    var files: [Int] = []
    /// The full length of a message that was truncated.
    var fullLength: Int?
    /// Whether the message came in an error.
    var isThrown = false
  }

  static func message(_ bytes: [UInt8]) -> Observation { .message(Seen(bytes: bytes)) }

  /// Whether nothing follows it in these tests.
  var isLast: Bool { if case .message = self { false } else { true } }
  var bytes: [UInt8] { if case .message(let seen) = self { seen.bytes } else { [] } }
  var files: [Int] { if case .message(let seen) = self { seen.files } else { [] } }

  init(_ message: ReceivedMessage?, isThrown: Bool = false) {
    guard let message else {
      self = .end
      return
    }
    var seen = Seen(bytes: message.payload, isThrown: isThrown)
    seen.fullLength = message.outcome.fullLength
    #expect(message.outcome.isPayloadTruncated == (seen.fullLength != nil))
    #expect(message.byteCount == message.payload.count)
    while let file = message.takeDescriptor() { seen.files.append((try? file.number) ?? -1) }
    #expect(seen.files.count == message.descriptorCount)
    self = .message(seen)
  }

  init(_ error: any Error) {
    guard let error = error as? SocketError else {
      self = .cancelled
      return
    }
    if error.code == .messageIncomplete {
      self = Observation(error.message, isThrown: true)
    } else {
      self = .failed(error.code)
    }
  }
}

/// The forms of receiving. Receiving bytes one by one is tested separately, because it has no
/// messages.
enum ReceivingForm: CaseIterable, Sendable {
  case message, span, batch, sequence

  /// Receives once: gives one observation, or one for each message of a batch.
  func observe(_ socket: some MessageSocket, room: Int) async -> [Observation] {
    do {
      switch self {
      case .message: return [Observation(try await socket.receiveMessage())]
      case .sequence:
        var iterator = socket.messages.makeAsyncIterator()
        return [Observation(try await iterator.next())]
      case .batch:
        let batch = try await socket.receiveMessages(upTo: 3)
        return batch.isEmpty ? [.end] : batch.map { Observation($0) }
      case .span: return [try await observeSpan(socket, room: room)]
      }
    } catch { return [Observation(error)] }
  }

  private func observeSpan(_ socket: some MessageSocket, room: Int) async throws -> Observation {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 1)
    defer { memory.deallocate() }
    var payload = OutputRawSpan(buffer: memory, initializedCount: 0)
    let received: ReceivedEnvelope?
    do {
      received = try await socket.receiveMessage(into: &payload)
    } catch {
      #expect(payload.byteCount == 0, "a receive that failed has appended bytes")
      throw error
    }
    guard var parts = received else { return .end }
    let (count, fullLength) = (parts.byteCount, parts.outcome.fullLength)
    #expect(count == payload.byteCount)
    var seen = Observation.Seen(bytes: Array(memory[..<payload.byteCount]), fullLength: fullLength)
    while let file = parts.descriptors.takeFirst() { seen.files.append((try? file.number) ?? -1) }
    return .message(seen)
  }
}
