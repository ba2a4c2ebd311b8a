// SPDX-License-Identifier: Apache-2.0
/// Control messages that are owned: a growing buffer, a value, safe to keep and to hand to another
/// task.
///
/// It holds bytes only. Descriptors in an `SCM_RIGHTS` message are plain numbers here; the types
/// that own them are ``OwnedFds`` and ``AncillaryData``.
@frozen
public struct ControlMessageBuffer: Hashable, Sendable {
  @usableFromInline var storage: [UInt8]

  /// An empty buffer. Allocates nothing.
  @inlinable
  public init() { storage = [] }

  /// An empty buffer with room for `capacity` bytes; ``ControlMessages/space(for:)`` of each
  /// message is what to add up.
  public init(capacity: Int) {
    storage = []
    storage.reserveCapacity(capacity)
  }

  /// A copy of raw bytes: whole messages, or the truncated tail of some.
  public init(copying bytes: RawSpan) { storage = bytes.copyToArray() }

  /// Takes raw bytes as they are, without a copy: whole messages, or the truncated tail of some.
  public init(bytes: [UInt8]) { storage = bytes }

  /// The messages, borrowed.
  public var messages: ControlMessages {
    @_lifetime(borrow self)
    borrowing get {
      // SAFETY: every byte of a byte array is initialized.
      ControlMessages(unsafe storage.span.bytes)
    }
  }

  /// How many descriptors the `SCM_RIGHTS` messages contain.
  package var descriptorCount: Int {
    if isEmpty { return 0 }
    var count = 0
    messages.forEach {
      if $0.kind == .rights { count += $0.data.byteCount / MemoryLayout<Int32>.size }
    }
    return count
  }

  /// The raw bytes.
  public var bytes: [UInt8] { storage }

  /// How many bytes the messages take, padding included.
  public var byteCount: Int { storage.count }

  /// Whether there is not a single byte.
  public var isEmpty: Bool { storage.isEmpty }

  /// How many bytes fit before the next allocation.
  public var capacity: Int { storage.capacity }

  /// Makes room for `minimum` bytes in all.
  public mutating func reserveCapacity(_ minimum: Int) { storage.reserveCapacity(minimum) }

  /// Removes all messages; keeps the memory.
  public mutating func removeAll() { storage.removeAll(keepingCapacity: true) }

  /// Appends a message with any level, type and payload.
  ///
  /// A truncated tail that `init(copying:)` may have left is padded first, so what follows starts
  /// at a header's place; a reader still stops at the malformed part.
  public mutating func append(level: Int32, type: Int32, bytes: RawSpan) {
    append(space: ControlMessages.space(for: bytes.byteCount)) { (output) throws(AncillaryError) in
      try output.appendControlMessage(ControlMessageKind(level: level, type: type), bytes: bytes)
    }
  }

  /// Appends a copy of a message.
  public mutating func append(_ message: borrowing ControlMessage) {
    append(level: message.level, type: message.type, bytes: message.data)
  }

  /// Appends a message of a typed kind.
  public mutating func append(_ value: some EncodableControlMessage) {
    append(space: value.space) { (output) throws(AncillaryError) in
      try output.appendControlMessage(value)
    }
  }

  /// Grows the buffer by `space` bytes, which `body` fills with one message.
  private mutating func append(
    space: Int, _ body: (inout OutputRawSpan) throws(AncillaryError) -> Void
  ) {
    let start = ControlMessageLayout.align(storage.count)
    storage.append(contentsOf: repeatElement(0, count: start + space - storage.count))
    // SAFETY: the bytes that were just added at the end.
    unsafe storage.withUnsafeMutableBytes { bytes in
      do {
        _ = try unsafe fill(UnsafeMutableRawBufferPointer(rebasing: bytes[start...]), body)
      } catch { preconditionFailure("a message did not fit into its own space: \(error)") }
    }
  }
}

extension ControlMessageBuffer: Sequence {
  /// An iterator over the messages, for a `for` loop; nothing is copied.
  public struct Iterator: IteratorProtocol {
    private let storage: [UInt8]
    private var offset = 0

    init(_ storage: [UInt8]) { self.storage = storage }

    /// The next message; `nil` at the end, or where the bytes stop being control messages.
    public mutating func next() -> StoredControlMessage? {
      // SAFETY: every byte of a byte array is initialized.
      guard let extent = ControlMessageExtent(in: unsafe storage.span.bytes, at: offset) else {
        return nil
      }
      offset = extent.next
      return StoredControlMessage(extent, in: storage)
    }
  }

  /// A walk from the first message, over the bytes as they are now.
  public func makeIterator() -> Iterator { Iterator(storage) }
}
