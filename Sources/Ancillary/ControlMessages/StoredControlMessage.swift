// SPDX-License-Identifier: Apache-2.0
/// One control message that shares the storage of the ``ControlMessageBuffer`` it came from: it may
/// be kept, and handed to another task.
public struct StoredControlMessage: Sendable {
  private let storage: [UInt8]
  private let range: Range<Int>

  /// What it is about: level and type together.
  public let kind: ControlMessageKind

  /// Whether the header promises more payload than there is.
  public let isTruncated: Bool

  init(_ extent: ControlMessageExtent, in storage: [UInt8]) {
    self.storage = storage
    range = extent.data
    kind = extent.kind
    isTruncated = extent.isTruncated
  }

  /// The payload.
  public var data: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      // SAFETY: every byte of an array of bytes is initialised.
      unsafe storage.span.bytes.extracting(range)
    }
  }

  /// The message, borrowed: to decode it, or to append it elsewhere.
  public var message: ControlMessage {
    @_lifetime(borrow self)
    borrowing get { ControlMessage(kind: kind, data: data, isTruncated: isTruncated) }
  }

  /// This message as a typed kind; `nil` when it is of another kind.
  ///
  /// - Throws: ``AncillaryError/Code/malformedData`` when it is of that kind but its payload is
  ///   not.
  public func decode<T: DecodableControlMessage & ~Copyable>(as type: T.Type = T.self)
    throws(AncillaryError) -> T?
  {
    try message.decode(as: type)
  }
}
