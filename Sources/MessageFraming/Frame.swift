// SPDX-License-Identifier: Apache-2.0
public import MessageSockets
internal import SocketEngine

/// One frame that was received: its payload, and the descriptors that belong to it, which it owns
/// until they are taken.
///
/// Each descriptor is given away once, by its index or in order. What was not taken closes with the
/// frame. All are close-on-exec.
public final class Frame: Sendable {
  /// The bytes, without the header or the NUL of the format.
  ///
  /// A frame that arrived in one receive shares the receive's memory, so that nothing is copied.
  public let payload: ArraySlice<UInt8>

  /// How many descriptors came with the frame, taken or not.
  public let descriptorCount: Int

  package let kind: FrameKind
  /// The frame's number; zero for a message.
  package let number: UInt64

  /// The receive that brought the descriptors.
  private let source: ReceivedMessage?
  private let taken: TSanVisibleMutex<TakenIndices>

  init(_ decoded: FrameDecoder<ReceivedMessage>.Decoded) {
    payload = decoded.payload
    descriptorCount = decoded.descriptorCount
    kind = decoded.header?.kind ?? .message
    number = decoded.header?.number ?? 0
    source = decoded.attachment
    taken = TSanVisibleMutex(TakenIndices())
  }

  /// Gives away the descriptor with this index, counted from 0 in the order of sending.
  ///
  /// - Throws: ``FramingError``: `noSuchDescriptor` for an index that is negative or too large,
  ///   `descriptorTaken` for one that was taken before.
  public func takeDescriptor(at index: Int) throws(FramingError) -> OwnedFd {
    guard let source, index >= 0, index < descriptorCount else {
      throw FramingError(.noSuchDescriptor, detail: "index \(index) of \(descriptorCount)")
    }
    let descriptor = taken.withLock { taken in
      taken.insert(index).flatMap { source.takeDescriptor(at: $0) }
    }
    guard let descriptor else { throw FramingError(.descriptorTaken, detail: "index \(index)") }
    return descriptor
  }

  /// Gives away the first descriptor that is left; nil if none is.
  public func takeDescriptor() -> OwnedFd? {
    taken.withLock { taken in
      guard let source, let first = (0..<descriptorCount).first(where: { !taken.contains($0) })
      else {
        return nil
      }
      return taken.insert(first).flatMap { source.takeDescriptor(at: $0) }
    }
  }

  /// Gives away all descriptors that are left, in the order of sending.
  public func takeDescriptors() -> OwnedFds {
    taken.withLock { taken in
      for index in 0..<descriptorCount { _ = taken.insert(index) }
      return source?.takeDescriptors() ?? OwnedFds()
    }
  }
}

/// Which of at most 256 descriptors have been taken.
private struct TakenIndices {
  private var words = InlineArray<4, UInt64>(repeating: 0)

  func contains(_ index: Int) -> Bool { words[index / 64] & 1 << UInt64(index % 64) != 0 }

  /// Marks a descriptor as taken. Returns its index among the remaining descriptors, or nil if it
  /// was taken before.
  mutating func insert(_ index: Int) -> Int? {
    if contains(index) { return nil }
    defer { words[index / 64] |= 1 << UInt64(index % 64) }
    var before = (words[index / 64] & (1 << UInt64(index % 64) - 1)).nonzeroBitCount
    for word in 0..<index / 64 { before += words[word].nonzeroBitCount }
    return index - before
  }
}
